package com.nexmdm.core.command

import com.nexmdm.core.port.PlatformAction
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import java.math.BigDecimal

/** Parameters that are no good; [message] names the one, without its value. */
internal class BadParams(override val message: String) : Exception(message)

/**
 * The parameters of a command, read leniently in their form and checked against the server's limits (actors/domain/src/action/table.rs) in
 * their content: what is signed may still be a server's mistake.
 */
internal class Params private constructor(private val fields: JsonObject) {
    /** Required text. */
    fun text(name: String): String = optionalText(name) ?: throw BadParams("$name is missing")

    /** Text, or null when it is absent. */
    fun optionalText(name: String): String? = when (val value = fields[name]) {
        null, JsonNull -> null
        is JsonPrimitive -> value.content
        else -> throw BadParams("$name is no text")
    }

    /** A whole number in any form that JSON or text has for it, or null when it is absent. */
    fun optionalInt(name: String, range: IntRange): Int? {
        val text = optionalText(name) ?: return null
        val number = if (text.length <= NUMBER_MAX_CHARS) text.toBigDecimalOrNull() else null
        val within = number?.takeIf { it >= BigDecimal(range.first) && it <= BigDecimal(range.last) }?.toInt()
        return within ?: throw BadParams("$name is not within ${range.first}..${range.last}")
    }

    /** Required whole number. */
    fun int(name: String, range: IntRange): Int = optionalInt(name, range) ?: throw BadParams("$name is missing")

    /** A list of texts. */
    fun texts(name: String, sizes: IntRange): List<String> {
        val list = fields[name] as? JsonArray ?: throw BadParams("$name is no list")
        if (list.size !in sizes) throw BadParams("$name has ${list.size} parts")
        return list.map { part ->
            (part as? JsonPrimitive)?.takeIf { it.isString }?.content ?: throw BadParams("$name holds other than text")
        }
    }

    companion object {
        private const val NUMBER_MAX_CHARS = 20

        /** Reads the JSON text; nothing at all counts as an empty object. */
        fun read(text: String): Params {
            val element = try {
                if (text.isBlank()) JsonObject(emptyMap()) else Json.parseToJsonElement(text)
            } catch (_: SerializationException) {
                throw BadParams("no JSON")
            }
            return Params(element as? JsonObject ?: if (element is JsonNull) JsonObject(emptyMap()) else throw BadParams("no object"))
        }
    }
}

/** An action of the platform with its deadline. */
internal class PlannedAction(val action: PlatformAction, val timeLimitMs: Long)

/** Reads what the platform is to do; null when [action] is none of the platform's. Throws [BadParams]. */
internal fun plan(action: String, paramsText: String): PlannedAction? {
    val params by lazy(LazyThreadSafetyMode.NONE) { Params.read(paramsText) }
    return when (action) {
        "ring" -> {
            val durationS = params.optionalInt("duration_s", 1..RING_MAX_S) ?: RING_DEFAULT_S
            PlannedAction(PlatformAction.Ring(durationS), durationS * 1_000L + SHORT_LIMIT_MS)
        }
        "reboot" -> PlannedAction(PlatformAction.Reboot, SHORT_LIMIT_MS)
        "launch_app" -> PlannedAction(PlatformAction.LaunchApp(packageName(params), intentAction(params)), SHORT_LIMIT_MS)
        "restart_app" -> PlannedAction(PlatformAction.RestartApp(packageName(params)), SHORT_LIMIT_MS)
        "clear_app_data" -> PlannedAction(PlatformAction.ClearAppData(packageName(params)), LONG_LIMIT_MS)
        "set_monitored_app" -> PlannedAction(PlatformAction.SetMonitoredApp(packageName(params)), SHORT_LIMIT_MS)
        "wake" -> PlannedAction(PlatformAction.Wake, SHORT_LIMIT_MS)
        "lock" -> PlannedAction(PlatformAction.Lock, SHORT_LIMIT_MS)
        "set_brightness" -> PlannedAction(PlatformAction.SetBrightness(params.int("level_pct", PERCENT)), SHORT_LIMIT_MS)
        "wifi_connect" -> PlannedAction(wifi(params), LONG_LIMIT_MS)
        "exec" -> PlannedAction(exec(params), EXEC_LIMIT_MS)
        else -> null
    }
}

private fun packageName(params: Params): String {
    val name = params.text("package")
    if (name.length > PACKAGE_MAX_CHARS || !PACKAGE.matches(name)) throw BadParams("package is no package name")
    return name
}

private fun intentAction(params: Params): String? {
    val intent = params.optionalText("intent") ?: return null
    if (intent.isEmpty() || intent.length > INTENT_MAX_CHARS || intent.any(Char::isISOControl)) throw BadParams("intent is no action")
    return intent
}

private fun wifi(params: Params): PlatformAction.WifiConnect {
    val ssid = params.text("ssid")
    if (ssid.toByteArray().size !in 1..SSID_MAX_BYTES || ssid.any(Char::isISOControl)) {
        throw BadParams("ssid is not 1..$SSID_MAX_BYTES bytes")
    }
    val password = params.optionalText("password")
    val security = params.optionalText("security") ?: if (password == null) "open" else "wpa2"
    when (security) {
        "open" -> if (password != null) throw BadParams("an open Wi-Fi takes no password")
        "wpa2", "wpa3" -> if (password == null || password.length !in PASSPHRASE_CHARS || password.any(Char::isISOControl)) {
            throw BadParams("password is not ${PASSPHRASE_CHARS.first}..${PASSPHRASE_CHARS.last} characters")
        }
        else -> throw BadParams("security is not one of open, wpa2, wpa3")
    }
    return PlatformAction.WifiConnect(ssid, security, password)
}

private fun exec(params: Params): PlatformAction.Exec {
    val name = params.text("name")
    if (!EXEC_NAME.matches(name)) throw BadParams("name is none of a command")
    val argv = params.texts("argv", 1..ExecRules.ARGV_MAX)
    if (argv.any { it.length > ExecRules.ARGUMENT_MAX_CHARS || '\u0000' in it }) throw BadParams("argv holds a part that is too long")
    if (!argv[0].startsWith("/")) throw BadParams("argv[0] is no absolute path")
    if (argv[0].substringAfterLast('/') in ExecRules.PROGRAM_RUNNERS) throw BadParams("argv[0] is a program that runs any other")
    return PlatformAction.Exec(name, argv)
}

private const val SHORT_LIMIT_MS = 30_000L
private const val LONG_LIMIT_MS = 60_000L

/** Longer than the 60 s that the platform gives a program, so that its output is not lost. */
private const val EXEC_LIMIT_MS = 65_000L
private const val RING_DEFAULT_S = 10
private const val RING_MAX_S = 300
private val PERCENT = 0..100
private const val PACKAGE_MAX_CHARS = 255
private val PACKAGE = Regex("[A-Za-z][A-Za-z0-9_]*(\\.[A-Za-z][A-Za-z0-9_]*)+")
private const val INTENT_MAX_CHARS = 500
private const val SSID_MAX_BYTES = 32
private val PASSPHRASE_CHARS = 8..63
private val EXEC_NAME = Regex("[a-z0-9][a-z0-9._-]{0,63}")
