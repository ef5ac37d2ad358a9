package com.nexmdm.core.command

import com.nexmdm.core.port.PlatformAction
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class ParamsTest {
    private fun action(name: String, params: String) = plan(name, params)?.action

    private fun bad(name: String, params: String): String = assertThrows(BadParams::class.java) { plan(name, params) }.message

    @Test
    fun `numbers are read in every form and kept within their limits`() {
        for (form in listOf("30", "30.0", "\"30\"", "3e1", "30.4")) {
            assertEquals(PlatformAction.Ring(30), action("ring", """{"duration_s":$form}"""), form)
        }
        assertEquals(PlatformAction.Ring(10), action("ring", ""))
        assertEquals(PlatformAction.Ring(10), action("ring", """{"duration_s":null,"later":[]}"""))
        assertEquals(330_000, plan("ring", """{"duration_s":300}""")?.timeLimitMs)
        for (form in listOf("0", "301", "-1", "\"ten\"", "1e99", "1e999999999", "[]", "true")) {
            assertTrue(bad("ring", """{"duration_s":$form}""").startsWith("duration_s"), form)
        }
    }

    @Test
    fun `a brightness is a percentage and has to be given`() {
        assertEquals(PlatformAction.SetBrightness(0), action("set_brightness", """{"level_pct":0}"""))
        assertEquals(PlatformAction.SetBrightness(100), action("set_brightness", """{"level_pct":"100"}"""))
        assertEquals(30_000, plan("set_brightness", """{"level_pct":50}""")?.timeLimitMs)
        for (form in listOf("-1", "101", "null", "\"bright\"", "[]")) {
            assertTrue(bad("set_brightness", """{"level_pct":$form}""").startsWith("level_pct"), form)
        }
        assertEquals("level_pct is missing", bad("set_brightness", "{}"))
    }

    @Test
    fun `packages and intents`() {
        assertEquals(PlatformAction.LaunchApp("com.example.app", null), action("launch_app", """{"package":"com.example.app"}"""))
        assertEquals(PlatformAction.LaunchApp("a.b", "a.VIEW"), action("launch_app", """{"package":"a.b","intent":"a.VIEW"}"""))
        assertEquals(PlatformAction.RestartApp("a.b"), action("restart_app", """{"package":"a.b"}"""))
        assertEquals(PlatformAction.ClearAppData("a.b"), action("clear_app_data", """{"package":"a.b"}"""))
        assertEquals(PlatformAction.SetMonitoredApp("a.b"), action("set_monitored_app", """{"package":"a.b"}"""))
        for (name in listOf("nodots", "com.example; reboot", ".a.b", "a..b", "1a.b", "a.b/../c", "a.".repeat(130) + "b")) {
            assertEquals("package is no package name", bad("restart_app", """{"package":"$name"}"""))
        }
        bad("restart_app", "{}")
        bad("launch_app", """{"package":"a.b","intent":""}""")
        bad("launch_app", """{"package":"a.b","intent":"${"x".repeat(501)}"}""")
    }

    @Test
    fun `a Wi-Fi is checked and its password is never quoted`() {
        val wifi = action("wifi_connect", """{"ssid":"shop","security":"wpa2","password":"open sesame"}""") as PlatformAction.WifiConnect
        assertEquals(listOf("shop", "wpa2", "open sesame"), listOf(wifi.ssid, wifi.security, wifi.password))
        assertFalse("sesame" in wifi.toString())
        assertEquals("open", (action("wifi_connect", """{"ssid":"shop"}""") as PlatformAction.WifiConnect).security)
        assertEquals("wpa2", (action("wifi_connect", """{"ssid":"s","password":"12345678"}""") as PlatformAction.WifiConnect).security)
        val table = listOf(
            """{"security":"open"}""", """{"ssid":"","security":"open"}""", """{"ssid":"${"é".repeat(17)}","security":"open"}""",
            """{"ssid":"s","security":"open","password":"sesame!!"}""", """{"ssid":"s","security":"wpa3"}""",
            """{"ssid":"s","security":"wpa3","password":"sesame"}""",
            """{"ssid":"s","security":"wpa2","password":"${"sesame".repeat(11)}"}""",
            """{"ssid":"s","security":"wep","password":"sesame!!"}""",
        )
        for (params in table) assertFalse("sesame" in bad("wifi_connect", params), params)
    }

    @Test
    fun `only programs with arguments run`() {
        assertEquals(
            PlatformAction.Exec("logs", listOf("/system/bin/logcat", "-d")),
            action("exec", """{"name":"logs","argv":["/system/bin/logcat","-d"]}"""),
        )
        for (argv in listOf("null", "[]", "[1]", """["logcat"]""", """["/system/bin/sh","-c","id"]""", """["/system/bin/../bin/su"]""")) {
            bad("exec", """{"name":"logs","argv":$argv}""")
        }
        bad("exec", """{"name":"rm -rf /","argv":["/system/bin/rm"]}""")
        bad("exec", """{"name":"logs","argv":["/a","${"x".repeat(501)}"]}""")
        bad("exec", """{"name":"logs","argv":[${List(33) { "\"/a\"" }.joinToString()}]}""")
    }

    @Test
    fun `actions without parameters do not mind any, and what is unknown is none`() {
        assertEquals(PlatformAction.Wake, action("wake", "no JSON"))
        assertEquals(PlatformAction.Lock, action("lock", "[]"))
        assertEquals(PlatformAction.Reboot, action("reboot", ""))
        assertNull(plan("wipe", "{}"))
        assertEquals("no JSON", bad("ring", "{"))
        assertEquals("no object", bad("ring", "[]"))
    }
}
