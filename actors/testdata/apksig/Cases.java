import com.android.apksig.ApkSigner;
import com.android.apksig.ApkVerifier;
import com.android.apksig.SigningCertificateLineage;
import com.android.apksig.util.DataSources;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.cert.X509Certificate;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PSSParameterSpec;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/** Makes signed APKs, sound and broken ones, and writes down what the library of apksigner says of each. */
public class Cases {
    static final int V2 = 0x7109871a, V3 = 0xf05368c0, V31 = 0x1b93ad61, PADDING = 0x42726577;
    static final int PSS256 = 0x0101, PSS512 = 0x0102, RSA256 = 0x0103, RSA512 = 0x0104, EC256 = 0x0201, EC512 = 0x0202, DSA256 = 0x0301;
    static final int RSA_VERITY = 0x0421, EC_VERITY = 0x0423, UNKNOWN = 0x7777;
    static final int ALSO_SIGNED_WITH = 0xbeeff00d, ROTATED_FOR_NEWER = 0x559f8b02, PROOF_OF_ROTATION = 0x3ba06f8c;
    static final int[] LEVELS = {26, 28, 32, 33, 35};

    static File folder;
    static KeyStore keys;
    static byte[] base, base28;
    static final Map<String, byte[]> cases = new TreeMap<>();

    record Key(PrivateKey secret, X509Certificate certificate) {
        byte[] der() throws Exception { return certificate.getEncoded(); }
        byte[] spki() { return certificate.getPublicKey().getEncoded(); }
    }

    static Key key(String alias) throws Exception {
        return new Key((PrivateKey) keys.getKey(alias, "throwaway".toCharArray()), (X509Certificate) keys.getCertificate(alias));
    }

    public static void main(String[] arguments) throws Exception {
        folder = new File(arguments[0]);
        keys = KeyStore.getInstance(new File(folder, "keys.p12"), "throwaway".toCharArray());
        base = Files.readAllBytes(new File(folder, "base-26.apk").toPath());
        base28 = Files.readAllBytes(new File(folder, "base-28.apk").toPath());
        bySigner();
        crafted();
        damaged();
        apps();
        write(new File(arguments[1]));
    }

    // ---- by the library's own signer

    static ApkSigner.SignerConfig config(String alias) throws Exception {
        Key key = key(alias);
        return new ApkSigner.SignerConfig.Builder(alias.replaceAll("[^a-z0-9]", "").substring(0, Math.min(8, alias.replaceAll("[^a-z0-9]", "").length())), key.secret, List.of(key.certificate)).build();
    }

    static byte[] signed(byte[] apk, List<String> aliases, boolean v1, boolean v2, boolean v3, Consumer<ApkSigner.Builder> more) throws Exception {
        List<ApkSigner.SignerConfig> configs = new ArrayList<>();
        for (String alias : aliases) configs.add(config(alias));
        File out = new File(folder, "signed.apk");
        ApkSigner.Builder builder = new ApkSigner.Builder(configs).setInputApk(DataSources.asDataSource(ByteBuffer.wrap(apk))).setOutputApk(out)
            .setV1SigningEnabled(v1).setV2SigningEnabled(v2).setV3SigningEnabled(v3).setV4SigningEnabled(false);
        more.accept(builder);
        builder.build().sign();
        return Files.readAllBytes(out.toPath());
    }

    static SigningCertificateLineage.SignerConfig link(String alias) throws Exception {
        Key key = key(alias);
        return new SigningCertificateLineage.SignerConfig.Builder(key.secret, key.certificate).build();
    }

    static SigningCertificateLineage lineage(String... aliases) throws Exception {
        SigningCertificateLineage lineage = new SigningCertificateLineage.Builder(link(aliases[0]), link(aliases[1])).build();
        for (int n = 2; n < aliases.length; n++) lineage = lineage.spawnDescendant(link(aliases[n - 1]), link(aliases[n]));
        return lineage;
    }

    static void bySigner() throws Exception {
        Consumer<ApkSigner.Builder> plain = builder -> { };
        for (String alias : List.of("rsa-1024", "rsa-2048", "rsa-3072", "rsa-4096", "rsa-8192", "ec-p256", "ec-p384", "ec-p521", "dsa-1024", "dsa-2048", "dsa-3072")) {
            cases.put("v2-" + alias, signed(base, List.of(alias), false, true, false, plain));
            cases.put("v3-" + alias, signed(base28, List.of(alias), false, false, true, plain));
        }
        cases.put("v1", signed(base, List.of("ec-p256"), true, false, false, plain));
        cases.put("v1-v2", signed(base, List.of("ec-p256"), true, true, false, plain));
        cases.put("v1-v2-v3", signed(base, List.of("ec-p256"), true, true, true, plain));
        cases.put("v2-v3", signed(base, List.of("rsa-2048"), false, true, true, plain));
        cases.put("v2-two-signers", signed(base, List.of("ec-p256", "rsa-2048"), false, true, false, plain));
        cases.put("v3-on-old", signed(base, List.of("ec-p256"), false, false, true, builder -> builder.setMinSdkVersion(28)));
        cases.put("v2-verity", signed(base, List.of("rsa-2048"), false, true, false, builder -> builder.setVerityEnabled(true)));
        cases.put("v2-verity-ec", signed(base, List.of("ec-p256"), false, true, false, builder -> builder.setVerityEnabled(true)));
        cases.put("v3-verity", signed(base28, List.of("ec-p256"), false, false, true, builder -> builder.setVerityEnabled(true)));
        SigningCertificateLineage two = lineage("rsa-2048", "ec-p256"), three = lineage("rsa-2048", "ec-p256", "ec-p256-b");
        cases.put("v3-rotated-at-28", signed(base28, List.of("rsa-2048", "ec-p256"), false, true, true, builder -> builder.setSigningCertificateLineage(two).setMinSdkVersionForRotation(28)));
        cases.put("v3-rotated-twice-at-28", signed(base28, List.of("rsa-2048", "ec-p256-b"), false, true, true, builder -> builder.setSigningCertificateLineage(three).setMinSdkVersionForRotation(28)));
        cases.put("v31-rotated", signed(base, List.of("rsa-2048", "ec-p256"), false, true, true, builder -> builder.setSigningCertificateLineage(two).setMinSdkVersionForRotation(33)));
        cases.put("v31-rotated-twice", signed(base, List.of("rsa-2048", "ec-p256-b"), true, true, true, builder -> builder.setSigningCertificateLineage(three).setMinSdkVersionForRotation(33)));
        cases.put("v31-rotated-at-34", signed(base, List.of("rsa-2048", "ec-p256"), false, true, true, builder -> builder.setSigningCertificateLineage(two).setMinSdkVersionForRotation(34)));
        cases.put("v31-rotated-for-development", signed(base, List.of("rsa-2048", "ec-p256"), false, true, true, builder -> builder.setSigningCertificateLineage(two).setMinSdkVersionForRotation(34).setRotationTargetsDevRelease(true)));
        cases.put("unsigned", base);
    }

    // ---- by hand

    static byte[] cat(byte[]... parts) {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        for (byte[] part : parts) all.writeBytes(part);
        return all.toByteArray();
    }

    static byte[] u32(long... numbers) {
        ByteBuffer bytes = ByteBuffer.allocate(numbers.length * 4).order(ByteOrder.LITTLE_ENDIAN);
        for (long number : numbers) bytes.putInt((int) number);
        return bytes.array();
    }

    static byte[] u64(long number) { return ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(number).array(); }
    static byte[] sized(byte[]... parts) { byte[] all = cat(parts); return cat(u32(all.length), all); }
    static byte[] flipped(byte[] bytes, int at) { byte[] copy = bytes.clone(); copy[at] ^= 1; return copy; }

    /** An archive in its three parts, without a signing block. */
    record Archive(byte[] front, byte[] directory, byte[] end) {
        static Archive of(byte[] apk) {
            int endAt = apk.length - 22;
            int directoryAt = ByteBuffer.wrap(apk).order(ByteOrder.LITTLE_ENDIAN).getInt(endAt + 16);
            return new Archive(Arrays.copyOf(apk, directoryAt), Arrays.copyOfRange(apk, directoryAt, endAt), Arrays.copyOfRange(apk, endAt, apk.length)).at(directoryAt);
        }
        Archive at(int directoryAt) {
            byte[] moved = end.clone();
            ByteBuffer.wrap(moved).order(ByteOrder.LITTLE_ENDIAN).putInt(16, directoryAt);
            return new Archive(front, directory, moved);
        }
        Archive padded() { byte[] longer = Arrays.copyOf(front, (front.length + 4095) / 4096 * 4096); return new Archive(longer, directory, end).at(longer.length); }
        Archive commented(int length) {
            byte[] longer = Arrays.copyOf(end, end.length + length);
            ByteBuffer.wrap(longer).order(ByteOrder.LITTLE_ENDIAN).putShort(20, (short) length);
            return new Archive(front, directory, longer);
        }
        byte[] with(byte[] block) { return cat(front, block, directory, at(front.length + block.length).end); }
        byte[] digest(String algorithm) throws Exception {
            MessageDigest all = MessageDigest.getInstance(algorithm);
            all.update((byte) 0x5a);
            all.update(u32(3));
            for (byte[] part : List.of(front, directory, end)) {
                MessageDigest one = MessageDigest.getInstance(algorithm);
                one.update((byte) 0xa5);
                one.update(u32(part.length));
                all.update(one.digest(part));
            }
            return all.digest();
        }
        byte[] verity() throws Exception {
            byte[] whole = cat(front, directory, end), level = whole;
            do {
                ByteArrayOutputStream next = new ByteArrayOutputStream();
                for (int at = 0; at < level.length; at += 4096) {
                    MessageDigest page = MessageDigest.getInstance("SHA-256");
                    page.update(new byte[8]);
                    next.writeBytes(page.digest(Arrays.copyOfRange(level, at, at + 4096)));
                }
                level = next.toByteArray();
            } while (level.length > 32);
            return cat(level, u64(whole.length));
        }
    }

    static byte[] block(byte[]... pairs) {
        byte[] all = cat(pairs);
        byte[] size = u64(all.length + 24);
        return cat(size, all, size, "APK Sig Block 42".getBytes());
    }

    static byte[] pair(int id, byte[] value) { return cat(u64(value.length + 4), u32(id), value); }

    /** A block filled up to whole pages. */
    static byte[] pages(byte[]... pairs) {
        int length = cat(pairs).length + 32 + 12;
        return block(cat(pairs), pair(PADDING, new byte[(4096 - length % 4096) % 4096]));
    }

    static byte[] sign(int algorithm, PrivateKey key, byte[] message) throws Exception {
        String name = switch (algorithm) {
            case PSS256, PSS512 -> "RSASSA-PSS";
            case RSA512 -> "SHA512withRSA";
            case EC256, EC_VERITY -> "SHA256withECDSA";
            case EC512 -> "SHA512withECDSA";
            case DSA256 -> "SHA256withDSA";
            default -> "SHA256withRSA";
        };
        Signature signature = Signature.getInstance(name);
        if (algorithm == PSS256) signature.setParameter(new PSSParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, 32, 1));
        if (algorithm == PSS512) signature.setParameter(new PSSParameterSpec("SHA-512", "MGF1", MGF1ParameterSpec.SHA512, 64, 1));
        signature.initSign(key);
        signature.update(message);
        return signature.sign();
    }

    /** A signer of a scheme, to be spoilt in one way. */
    static class Signer {
        Archive archive = Archive.of(base);
        Key key;
        byte[] publicKey;
        List<byte[]> certificates = new ArrayList<>();
        List<Integer> algorithms = new ArrayList<>(), listed;
        List<byte[]> attributes = new ArrayList<>();
        List<Integer> wrongDigests = new ArrayList<>(), wrongSignatures = new ArrayList<>();
        long[] levels, otherLevels;
        boolean none;

        Signer(String alias, int... algorithms) throws Exception {
            key = key(alias);
            publicKey = key.spki();
            certificates.add(key.der());
            for (int algorithm : algorithms) this.algorithms.add(algorithm);
        }
        Signer with(Consumer<Signer> change) { change.accept(this); return this; }
        Signer of(long min, long max) { levels = otherLevels = new long[] {min, max}; archive = Archive.of(base28); return this; }
        Signer attribute(int id, byte[] value) { attributes.add(cat(u32(id), value)); return this; }

        byte[] bytes() throws Exception {
            ByteArrayOutputStream digests = new ByteArrayOutputStream(), signatures = new ByteArrayOutputStream();
            for (int algorithm : listed == null ? algorithms : listed) {
                byte[] digest = switch (algorithm) {
                    case PSS512, RSA512, EC512 -> archive.digest("SHA-512");
                    case RSA_VERITY, EC_VERITY -> archive.verity();
                    default -> archive.digest("SHA-256");
                };
                digests.writeBytes(sized(u32(algorithm), sized(wrongDigests.contains(algorithm) ? flipped(digest, 5) : digest)));
            }
            ByteArrayOutputStream listedCertificates = new ByteArrayOutputStream(), listedAttributes = new ByteArrayOutputStream();
            for (byte[] certificate : certificates) listedCertificates.writeBytes(sized(certificate));
            for (byte[] attribute : attributes) listedAttributes.writeBytes(sized(attribute));
            byte[] range = levels == null ? new byte[0] : u32(levels);
            byte[] message = cat(sized(digests.toByteArray()), sized(listedCertificates.toByteArray()), range, sized(listedAttributes.toByteArray()));
            for (int algorithm : none ? List.<Integer>of() : algorithms) {
                byte[] signature = sign(algorithm, key.secret, message);
                signatures.writeBytes(sized(u32(algorithm), sized(wrongSignatures.contains(algorithm) ? flipped(signature, signature.length - 3) : signature)));
            }
            return sized(sized(message), levels == null ? new byte[0] : u32(otherLevels), sized(signatures.toByteArray()), sized(publicKey));
        }
    }

    static byte[] scheme(int id, Signer... signers) throws Exception {
        byte[] all = new byte[0];
        for (Signer signer : signers) all = cat(all, signer.bytes());
        return pair(id, sized(all));
    }

    static void v2(String name, Signer... signers) throws Exception {
        cases.put(name, signers[0].archive.with(block(scheme(V2, signers))));
    }

    static void v3(String name, Signer... signers) throws Exception {
        cases.put(name, signers[0].archive.with(block(scheme(V3, signers))));
    }

    static void crafted() throws Exception {
        v2("v2-by-hand", new Signer("rsa-2048", RSA256));
        v2("v2-pss-sha256", new Signer("rsa-2048", PSS256));
        v2("v2-pss-sha512", new Signer("rsa-2048", PSS512));
        v2("v2-rsa-sha512", new Signer("rsa-2048", RSA512));
        v2("v2-ec-sha512", new Signer("ec-p256", EC512));
        v2("v2-p521-sha256", new Signer("ec-p521", EC256));
        v2("v2-digest-does-not-match", new Signer("rsa-2048", RSA256).with(signer -> signer.wrongDigests.add(RSA256)));
        v2("v2-ec-digest-does-not-match", new Signer("ec-p256", EC512).with(signer -> signer.wrongDigests.add(EC512)));
        v2("v2-dsa-digest-does-not-match", new Signer("dsa-2048", DSA256).with(signer -> signer.wrongDigests.add(DSA256)));
        v2("v2-signature-does-not-match", new Signer("rsa-2048", RSA256).with(signer -> signer.wrongSignatures.add(RSA256)));
        v2("v2-ec-signature-does-not-match", new Signer("ec-p256", EC256).with(signer -> signer.wrongSignatures.add(EC256)));
        v2("v2-dsa-signature-does-not-match", new Signer("dsa-2048", DSA256).with(signer -> signer.wrongSignatures.add(DSA256)));
        v2("v2-unknown-algorithm", new Signer("rsa-2048", UNKNOWN));
        v2("v2-unknown-algorithm-besides", new Signer("rsa-2048", UNKNOWN, RSA256));
        v2("v2-strong-and-weak", new Signer("rsa-2048", RSA256, RSA512));
        v2("v2-strong-signature-does-not-match", new Signer("rsa-2048", RSA256, RSA512).with(signer -> signer.wrongSignatures.add(RSA512)));
        v2("v2-weak-signature-does-not-match", new Signer("rsa-2048", RSA256, RSA512).with(signer -> signer.wrongSignatures.add(RSA256)));
        v2("v2-strong-digest-does-not-match", new Signer("rsa-2048", RSA256, RSA512).with(signer -> signer.wrongDigests.add(RSA512)));
        v2("v2-weak-digest-does-not-match", new Signer("rsa-2048", RSA256, RSA512).with(signer -> signer.wrongDigests.add(RSA256)));
        v2("v2-algorithms-of-digests-differ", new Signer("rsa-2048", RSA256).with(signer -> signer.listed = List.of(RSA512)));
        v2("v2-more-digests", new Signer("rsa-2048", RSA256).with(signer -> signer.listed = List.of(RSA256, RSA512)));
        v2("v2-fewer-digests", new Signer("rsa-2048", RSA256, RSA512).with(signer -> signer.listed = List.of(RSA512)));
        v2("v2-no-digests", new Signer("rsa-2048", RSA256).with(signer -> signer.listed = List.of()));
        v2("v2-no-certificates", new Signer("rsa-2048", RSA256).with(signer -> signer.certificates.clear()));
        byte[] other = key("rsa-2048-b").der(), chain = key("ec-p256").der();
        v2("v2-certificate-of-another-key", new Signer("rsa-2048", RSA256).with(signer -> signer.certificates.set(0, other)));
        v2("v2-more-certificates", new Signer("rsa-2048", RSA256).with(signer -> signer.certificates.add(chain)));
        v2("v2-second-certificate-is-none", new Signer("rsa-2048", RSA256).with(signer -> signer.certificates.add("none".getBytes())));
        v2("v2-key-of-another-kind", new Signer("rsa-2048", RSA256).with(signer -> signer.publicKey = keyOf("ec-p256")));
        v2("v2-key-is-none", new Signer("rsa-2048", RSA256).with(signer -> signer.publicKey = "none".getBytes()));
        v2("v2-no-signatures", new Signer("rsa-2048", RSA256).with(signer -> signer.none = true));
        v2("v2-unknown-attribute", new Signer("rsa-2048", RSA256).attribute(0x12345678, u32(1)));
        v2("v2-short-attribute", new Signer("rsa-2048", RSA256).with(signer -> signer.attributes.add(new byte[2])));
        v2("v2-first-of-two-signers-has-none", new Signer("rsa-2048", RSA256).with(signer -> signer.none = true), new Signer("ec-p256", EC256));
        v2("v2-second-of-two-signers-has-none", new Signer("rsa-2048", RSA256), new Signer("ec-p256", EC256).with(signer -> signer.none = true));
        v2("v2-second-of-two-signers-unknown", new Signer("rsa-2048", RSA256), new Signer("rsa-2048-b", UNKNOWN));
        v2("v2-second-of-two-signers-does-not-match", new Signer("rsa-2048", RSA256), new Signer("ec-p256", EC256).with(signer -> signer.wrongSignatures.add(EC256)));
        Signer[] ten = new Signer[10], eleven = new Signer[11];
        for (int n = 0; n < 11; n++) eleven[n] = new Signer("ec-p256", EC256);
        System.arraycopy(eleven, 0, ten, 0, 10);
        v2("v2-eleven-signers", eleven);
        v2("v2-comment-of-most-length", new Signer("ec-p256", EC256).with(signer -> signer.archive = signer.archive.commented(65_535)));
        v2("v2-stripped-of-v3", new Signer("rsa-2048", RSA256).attribute(ALSO_SIGNED_WITH, u32(3)));
        v2("v2-also-signed-with-unknown", new Signer("rsa-2048", RSA256).attribute(ALSO_SIGNED_WITH, u32(5)));
        cases.put("v2-no-signers", Archive.of(base).with(block(pair(V2, sized()))));
        cases.put("v2-empty", Archive.of(base).with(block(pair(V2, new byte[0]))));
        cases.put("v2-unknown-block-besides", Archive.of(base).with(block(pair(0x01020304, "something".getBytes()), scheme(V2, new Signer("rsa-2048", RSA256)))));
        cases.put("v2-twice", Archive.of(base).with(block(scheme(V2, new Signer("rsa-2048", RSA256)), scheme(V2, new Signer("ec-p256", EC256)))));

        // Digests of verity: pages.
        Archive padded = Archive.of(base).padded();
        Signer verity = new Signer("rsa-2048", RSA_VERITY).with(signer -> signer.archive = padded);
        cases.put("v2-verity-alone", padded.with(pages(scheme(V2, verity))));
        cases.put("v2-verity-block-is-no-page", padded.with(block(scheme(V2, verity))));
        Signer unpadded = new Signer("rsa-2048", RSA_VERITY);
        cases.put("v2-verity-block-begins-within-page", unpadded.archive.with(pages(scheme(V2, unpadded))));
        Signer both = new Signer("rsa-2048", RSA256, RSA_VERITY).with(signer -> signer.archive = padded);
        cases.put("v2-verity-besides", padded.with(pages(scheme(V2, both))));
        cases.put("v2-verity-besides-block-is-no-page", padded.with(block(scheme(V2, both))));
        both.wrongDigests.add(RSA_VERITY);
        cases.put("v2-verity-besides-does-not-match", padded.with(pages(scheme(V2, both))));
        Signer strong = new Signer("rsa-2048", RSA512, RSA_VERITY).with(signer -> signer.archive = padded);
        cases.put("v2-verity-besides-stronger", padded.with(pages(scheme(V2, strong))));
        Signer ofV3 = new Signer("ec-p256", EC_VERITY).of(28, Integer.MAX_VALUE);
        ofV3.archive = ofV3.archive.padded();
        cases.put("v3-verity-alone", ofV3.archive.with(pages(scheme(V3, ofV3))));
        cases.put("v3-verity-block-is-no-page", ofV3.archive.with(block(scheme(V3, ofV3))));

        // Schemes beside each other.
        long max = Integer.MAX_VALUE;
        v3("v3-by-hand", new Signer("ec-p256", EC256).of(28, max));
        v3("v3-digest-does-not-match", new Signer("ec-p256", EC256).of(28, max).with(signer -> signer.wrongDigests.add(EC256)));
        v3("v3-signature-does-not-match", new Signer("ec-p256", EC256).of(28, max).with(signer -> signer.wrongSignatures.add(EC256)));
        v3("v3-unknown-algorithm", new Signer("rsa-2048", UNKNOWN).of(28, max));
        v3("v3-levels-differ", new Signer("ec-p256", EC256).of(28, max).with(signer -> signer.otherLevels = new long[] {24, max}));
        v3("v3-levels-upside-down", new Signer("ec-p256", EC256).of(33, 28));
        v3("v3-levels-end", new Signer("ec-p256", EC256).of(28, 34));
        v3("v3-levels-begin-late", new Signer("ec-p256", EC256).of(33, max));
        v3("v3-levels-gap", new Signer("ec-p256", EC256).of(28, 31), new Signer("ec-p256", EC256).of(33, max));
        v3("v3-levels-overlap", new Signer("ec-p256", EC256).of(28, 33), new Signer("ec-p256", EC256).of(33, max));
        v3("v3-levels-split", new Signer("ec-p256", EC256).of(28, 32), new Signer("ec-p256", EC256).of(33, max));
        v3("v3-levels-split-other-signer", new Signer("ec-p256", EC256).of(28, 32), new Signer("ec-p256-b", EC256).of(33, max));
        byte[] proof = lineage("rsa-2048", "ec-p256").encodeSigningCertificateLineage();
        byte[] proof3 = lineage("rsa-2048", "ec-p256", "ec-p256-b").encodeSigningCertificateLineage();
        v3("v3-levels-split-rotated", new Signer("rsa-2048", RSA256).of(28, 32), new Signer("ec-p256", EC256).of(33, max).attribute(PROOF_OF_ROTATION, proof));
        v3("v3-rotated-by-hand", new Signer("ec-p256", EC256).of(28, max).attribute(PROOF_OF_ROTATION, proof));
        v3("v3-proof-of-another-signer", new Signer("ec-p256-b", EC256).of(28, max).attribute(PROOF_OF_ROTATION, proof));
        v3("v3-proof-goes-on-after-signer", new Signer("ec-p256", EC256).of(28, max).attribute(PROOF_OF_ROTATION, proof3));
        v3("v3-proof-does-not-match", new Signer("ec-p256", EC256).of(28, max).attribute(PROOF_OF_ROTATION, flipped(proof, proof.length - 5)));
        v3("v3-proof-cut-off", new Signer("ec-p256", EC256).of(28, max).attribute(PROOF_OF_ROTATION, Arrays.copyOf(proof, proof.length - 20)));
        v3("v3-proof-of-unknown-version", new Signer("ec-p256", EC256).of(28, max).attribute(PROOF_OF_ROTATION, cat(u32(2), Arrays.copyOfRange(proof, 4, proof.length))));
        v3("v3-stripped-of-v31", new Signer("ec-p256", EC256).of(28, max).attribute(ROTATED_FOR_NEWER, u32(33)));
        Archive archive = Archive.of(base28);
        byte[] old2 = scheme(V2, new Signer("rsa-2048", RSA256).with(signer -> signer.archive = archive));
        cases.put("v2-of-another-signer-than-v3", archive.with(block(old2, scheme(V3, new Signer("ec-p256", EC256).of(28, max)))));
        cases.put("v2-before-rotation-of-v3", archive.with(block(old2, scheme(V3, new Signer("ec-p256", EC256).of(28, max).attribute(PROOF_OF_ROTATION, proof)))));
        byte[] both2 = scheme(V2, new Signer("rsa-2048", RSA256).with(signer -> signer.archive = archive), new Signer("ec-p256", EC256).with(signer -> signer.archive = archive));
        cases.put("v2-of-two-signers-before-rotation-of-v3", archive.with(block(both2, scheme(V3, new Signer("ec-p256", EC256).of(28, max).attribute(PROOF_OF_ROTATION, proof)))));
        byte[] broken2 = scheme(V2, new Signer("ec-p256", EC256).with(signer -> { signer.archive = archive; signer.wrongSignatures.add(EC256); }));
        cases.put("v2-does-not-match-besides-v3", archive.with(block(broken2, scheme(V3, new Signer("ec-p256", EC256).of(28, max)))));
        Signer first = new Signer("rsa-2048", RSA256).of(28, max).attribute(ROTATED_FOR_NEWER, u32(33));
        Signer newer = new Signer("ec-p256", EC256).of(33, max).attribute(PROOF_OF_ROTATION, proof);
        cases.put("v31-by-hand", archive.with(block(scheme(V3, first), scheme(V31, newer))));
        cases.put("v31-alone", archive.with(block(scheme(V31, newer))));
        Signer later = new Signer("rsa-2048", RSA256).of(28, max).attribute(ROTATED_FOR_NEWER, u32(35));
        cases.put("v31-at-another-level", archive.with(block(scheme(V3, later), scheme(V31, newer))));
        cases.put("v31-without-proof", archive.with(block(scheme(V3, first), scheme(V31, new Signer("ec-p256", EC256).of(33, max)))));
        cases.put("v31-does-not-match", archive.with(block(scheme(V3, first), scheme(V31, new Signer("ec-p256", EC256).of(33, max).attribute(PROOF_OF_ROTATION, proof).with(signer -> signer.wrongSignatures.add(EC256))))));
    }

    static byte[] keyOf(String alias) {
        try {
            return key(alias).spki();
        } catch (Exception cause) {
            throw new IllegalStateException(cause);
        }
    }

    static void damaged() throws Exception {
        Archive archive = Archive.of(base);
        byte[] good = block(scheme(V2, new Signer("ec-p256", EC256)));
        byte[] whole = archive.with(good);
        int blockAt = archive.front.length, directoryAt = blockAt + good.length, endAt = directoryAt + archive.directory.length;
        cases.put("damaged-magic", archive.with(flipped(good, good.length - 1)));
        cases.put("damaged-size-before", archive.with(flipped(good, 0)));
        cases.put("damaged-size-after", archive.with(flipped(good, good.length - 24)));
        byte[] sizes = flipped(good, 0);
        sizes[good.length - 24] = sizes[0];
        cases.put("damaged-both-sizes", archive.with(sizes));
        cases.put("damaged-length-of-pair", archive.with(flipped(good, 8 + 3)));
        cases.put("altered-entry", flipped(whole, 60));
        cases.put("altered-directory", flipped(whole, directoryAt + 12));
        cases.put("altered-name-in-directory", flipped(whole, directoryAt + 47));
        cases.put("altered-end", flipped(whole, endAt + 4));
        cases.put("altered-gap-before-block", cat(archive.front, new byte[16], good, archive.directory, archive.at(directoryAt + 16).end));
        cases.put("garbage-before-end", cat(Arrays.copyOf(whole, endAt), new byte[16], Arrays.copyOfRange(whole, endAt, whole.length)));
        cases.put("garbage-after-end", cat(whole, new byte[16]));
        cases.put("garbage-after-block", cat(archive.front, good, new byte[16], archive.directory, archive.at(directoryAt + 16).end));
        cases.put("cut-off", Arrays.copyOf(whole, whole.length - 10));
    }

    /** Apps that are signed well, whatever their manifest says. */
    static void apps() throws Exception {
        File[] files = new File(folder, "apps").listFiles();
        for (File file : files) {
            Consumer<ApkSigner.Builder> level = builder -> builder.setMinSdkVersion(26).setAlignmentPreserved(true);
            cases.put("app-" + file.getName().replace(".apk", ""), signed(Files.readAllBytes(file.toPath()), List.of("ec-p256"), false, true, true, level));
        }
    }

    // ---- verdicts

    static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte one : bytes) text.append(String.format("%02x", one));
        return text.toString();
    }

    static String verdict(byte[] apk, int level) {
        try {
            ApkVerifier.Result result = new ApkVerifier.Builder(DataSources.asDataSource(ByteBuffer.wrap(apk))).setMinCheckedPlatformVersion(level).setMaxCheckedPlatformVersion(level).build().verify();
            if (!result.isVerified()) return "-";
            List<String> signers = new ArrayList<>();
            for (X509Certificate certificate : result.getSignerCertificates()) signers.add(hex(MessageDigest.getInstance("SHA-256").digest(certificate.getEncoded())));
            return String.join(",", signers);
        } catch (Exception refusal) {
            return "-";
        }
    }

    static void write(File out) throws Exception {
        try (ZipOutputStream zip = new ZipOutputStream(new FileOutputStream(new File(out, "cases.zip"))); PrintWriter table = new PrintWriter(new File(out, "verdicts.tsv"))) {
            zip.setLevel(9);
            StringBuilder head = new StringBuilder("# Signers (SHA-256 of certificates) that apksig finds for a device of an API level; -: it refuses the file.\ncase");
            for (int level : LEVELS) head.append("\t").append(level);
            table.print(head + "\n");
            for (Map.Entry<String, byte[]> one : cases.entrySet()) {
                ZipEntry entry = new ZipEntry(one.getKey());
                entry.setTime(1_000_000_000_000L);
                zip.putNextEntry(entry);
                zip.write(one.getValue());
                zip.closeEntry();
                if (one.getKey().startsWith("app-")) continue;
                StringBuilder row = new StringBuilder(one.getKey());
                for (int level : LEVELS) row.append("\t").append(verdict(one.getValue(), level));
                table.print(row + "\n");
            }
        }
    }
}
