package com.nexmdm.platform

import android.content.Context

/** The caller has checked `SDK_INT`: the check against API 26 skips the function. */
@Retention(AnnotationRetention.BINARY)
@Target(AnnotationTarget.FUNCTION, AnnotationTarget.CLASS)
annotation class GuardedBySdk

/** A system service that every device has. */
internal inline fun <reified T : Any> Context.service(): T =
    checkNotNull(getSystemService(T::class.java)) { "no ${T::class.java.simpleName}" }

/**
 * The context whose files lie in device-protected storage: readable from boot on, before anybody unlocks the device. They are
 * encrypted by a key of the device, not of its user; the identity is sealed by the Keystore on top of that.
 */
internal fun Context.deviceProtected(): Context = if (isDeviceProtectedStorage) this else createDeviceProtectedStorageContext()
