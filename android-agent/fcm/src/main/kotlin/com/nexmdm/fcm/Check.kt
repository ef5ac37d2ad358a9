package com.nexmdm.fcm

import java.io.File
import java.io.IOException
import kotlin.system.exitProcess

/** Run by the build: exits with 1 if a `google-services.json`, the first argument, does not serve the package, the second. */
internal fun main(arguments: Array<String>) {
    val (file, packageName) = arguments
    try {
        FirebaseProject.parse(File(file).readText(), packageName)
    } catch (e: IllegalArgumentException) {
        refuse(file, e)
    } catch (e: IOException) {
        refuse(file, e)
    }
}

private fun refuse(file: String, e: Exception): Nothing {
    System.err.println("$file: ${e.message}")
    exitProcess(1)
}
