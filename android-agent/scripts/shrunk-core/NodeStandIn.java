import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Stand-in of a node that starts one host agent and expects of it a registration, a session, a heartbeat, and the result of a signed
 * command; then it stops the agent. Exit code 0 if all of that came.
 *
 * <p>{@code java NodeStandIn.java STATE-DIR COMMAND...}; the command gets --server, --token, --state, --alias and --interval appended.
 */
final class NodeStandIn {
    private static final int WAIT_SECONDS = 60;
    private static final String DEVICE_ID = "00000000-0000-4000-8000-000000000007";

    private final SecureRandom random = new SecureRandom();
    private final byte[] deviceKey = random.generateSeed(32);
    private final String enrollmentToken = hex(random.generateSeed(16));
    private final String deviceToken = "t." + hex(random.generateSeed(16));
    private final String sessionToken = hex(random.generateSeed(16));
    private final String requestId = uuid7();
    private final CountDownLatch registered = new CountDownLatch(1);
    private final CountDownLatch reported = new CountDownLatch(1);
    private final CountDownLatch succeeded = new CountDownLatch(1);

    public static void main(String[] arguments) throws Exception {
        System.exit(new NodeStandIn().run(arguments[0], Arrays.asList(arguments).subList(1, arguments.length)) ? 0 : 1);
    }

    private boolean run(String state, List<String> command) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 16);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.createContext("/", this::answer);
        server.start();
        List<String> words = new ArrayList<>(command);
        String url = "http://127.0.0.1:" + server.getAddress().getPort();
        words.addAll(List.of("--server", url, "--token", enrollmentToken, "--state", state, "--alias", "shrunk", "--interval", "1s"));
        File log = new File(state + ".log");
        Process agent = new ProcessBuilder(words).redirectErrorStream(true).redirectOutput(log).start();
        try {
            boolean good = came("registration", registered) && came("heartbeat", reported) && came("result of the command", succeeded);
            agent.destroy();
            if (!agent.waitFor(WAIT_SECONDS, TimeUnit.SECONDS)) {
                System.err.println("the agent does not end on SIGTERM");
                good = false;
            } else if (good && agent.exitValue() != 0) {
                System.err.println("exit code " + agent.exitValue());
                good = false;
            }
            if (!good) {
                System.err.println("its log: " + log);
            }
            return good;
        } finally {
            agent.destroyForcibly();
            server.stop(0);
        }
    }

    private static boolean came(String what, CountDownLatch latch) throws InterruptedException {
        boolean came = latch.await(WAIT_SECONDS, TimeUnit.SECONDS);
        System.err.println((came ? "seen: " : "missing after " + WAIT_SECONDS + " s: ") + what);
        return came;
    }

    private void answer(HttpExchange exchange) throws IOException {
        try (exchange) {
            byte[] body = exchange.getRequestBody().readAllBytes();
            String text = new String(body, StandardCharsets.UTF_8);
            String bearer = String.valueOf(exchange.getRequestHeaders().getFirst("Authorization")).replaceFirst("^Bearer ", "");
            String path = exchange.getRequestURI().getPath();
            boolean enrolls = path.equals("/v1/register");
            if (enrolls ? !bearer.equals(enrollmentToken) : !bearer.equals(deviceToken) && !bearer.equals(sessionToken)) {
                send(exchange, 401, "{\"title\":\"Unauthorized\"}");
                return;
            }
            switch (path) {
                case "/v1/register" -> {
                    registered.countDown();
                    send(exchange, 200, json("device_id", DEVICE_ID, "device_token", deviceToken, "device_key", hex(deviceKey),
                        "server_time", Instant.now().toString(), "socket_url", "ws://" + exchange.getRequestHeaders().getFirst("Host") + "/v1/agent/socket"));
                }
                case "/v1/agent/session" -> send(exchange, 200,
                    json("session_token", sessionToken, "expires_at", Instant.now().plus(1, ChronoUnit.DAYS).toString()));
                case "/v1/heartbeat", "/v1/heartbeats" -> {
                    reported.countDown();
                    String results = path.endsWith("s") ? ",\"results\":[{\"index\":0,\"status\":200}]" : "";
                    send(exchange, 200, "{\"ok\":true,\"next_heartbeat_seconds\":1,\"server_time\":\"" + Instant.now() + "\",\"commands\":["
                        + (succeeded.getCount() > 0 ? command() : "") + "]" + results + "}");
                }
                case "/v1/action-result" -> {
                    if (text.contains(requestId) && text.replace(" ", "").contains("\"outcome\":\"success\"")) {
                        succeeded.countDown();
                    }
                    send(exchange, 200, "{\"ok\":true}");
                }
                case "/v1/agent/update" -> {
                    exchange.getResponseHeaders().set("X-Update-Reason", "no_current_build");
                    exchange.sendResponseHeaders(304, -1);
                }
                // No socket: the agent falls back to HTTP.
                default -> send(exchange, 503, "{\"title\":\"Service Unavailable\"}");
            }
        } catch (Exception failure) {
            failure.printStackTrace();
        }
    }

    private String command() throws Exception {
        Instant now = Instant.now().truncatedTo(ChronoUnit.MILLIS);
        String ts = now.toString();
        String expiresAt = now.plus(10, ChronoUnit.MINUTES).toString();
        String params = "{}";
        String signed = String.join("\n", "nexmdm-command-v1", requestId, DEVICE_ID, "sync", ts, expiresAt,
            hex(MessageDigest.getInstance("SHA-256").digest(params.getBytes(StandardCharsets.UTF_8))));
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(deviceKey, "HmacSHA256"));
        String signature = hex(mac.doFinal(signed.getBytes(StandardCharsets.UTF_8)));
        return json("request_id", requestId, "device_id", DEVICE_ID, "action", "sync", "ts", ts, "expires_at", expiresAt, "params", params,
            "signature", signature, "v", "1");
    }

    private static void send(HttpExchange exchange, int status, String body) throws IOException {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, bytes.length);
        exchange.getResponseBody().write(bytes);
    }

    /** Names and values in turn, none of which has a character to be escaped. */
    private static String json(String... fields) {
        StringBuilder text = new StringBuilder("{");
        for (int i = 0; i < fields.length; i += 2) {
            text.append(i == 0 ? "" : ",").append('"').append(fields[i]).append("\":\"").append(fields[i + 1]).append('"');
        }
        return text.append('}').toString();
    }

    /** A request id as the server makes them: UUIDv7. */
    private String uuid7() {
        long high = System.currentTimeMillis() << 16 | 0x7000L | random.nextInt(0x1000);
        return new UUID(high, random.nextLong() & 0x3fffffffffffffffL | 0x8000000000000000L).toString();
    }

    private static String hex(byte[] bytes) {
        return HexFormat.of().formatHex(bytes);
    }
}
