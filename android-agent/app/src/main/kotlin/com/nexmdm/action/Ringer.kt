package com.nexmdm.action

import android.app.PendingIntent
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.media.AudioAttributes
import android.media.AudioManager
import android.media.RingtoneManager
import android.media.ToneGenerator
import com.nexmdm.core.port.ActionOutcome
import com.nexmdm.platform.Notices
import com.nexmdm.platform.service
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.buildJsonObject

/** A sound that repeats until it is stopped. */
internal interface Sound {
    /** Starts it, or starts it again where it ended. */
    fun play()

    /** Stops it and releases what it holds. */
    fun stop()
}

/** Rings as an alarm does, also when the device is on silent, at full volume, until time is up or a person stops it. */
internal class Ringer(
    private val context: Context,
    private val notices: Notices,
    private val sound: () -> Sound = { systemSound(context) },
) {
    private val audio = context.service<AudioManager>()

    /** Rings for [durationS] at most; a ring that is on already ends. */
    suspend fun ring(durationS: Int): ActionOutcome = coroutineScope {
        val stopped = CompletableDeferred<Unit>()
        current?.complete(Unit)
        current = stopped
        val playing = sound()
        raiseVolume()
        try {
            notices.ringing(stopIntent())
            val repeats = launch {
                while (true) {
                    playing.play()
                    delay(REPEAT_MS)
                }
            }
            val byPerson = withTimeoutOrNull(durationS * 1_000L) { stopped.await() } != null
            repeats.cancel()
            ActionOutcome("success", data = buildJsonObject { put("stopped_by", JsonPrimitive(if (byPerson) "person" else "time")) })
        } finally {
            playing.stop()
            // A newer ring has its own notification.
            if (current === stopped) {
                current = null
                notices.rang()
            }
            restoreVolume()
        }
    }

    private fun raiseVolume() = synchronized(Companion) {
        if (ringing++ == 0) personsVolume = audio.getStreamVolume(AudioManager.STREAM_ALARM)
        setVolume(audio.getStreamMaxVolume(AudioManager.STREAM_ALARM))
    }

    private fun restoreVolume() = synchronized(Companion) {
        if (--ringing == 0) setVolume(personsVolume)
    }

    private fun setVolume(volume: Int) {
        try {
            audio.setStreamVolume(AudioManager.STREAM_ALARM, volume, 0)
        } catch (_: SecurityException) {
            // Do Not Disturb in its total silence lets no app change it; what can be heard is still played.
        }
    }

    private fun stopIntent(): PendingIntent =
        PendingIntent.getBroadcast(context, 0, Intent(context, RingStopReceiver::class.java), PendingIntent.FLAG_IMMUTABLE)

    companion object {
        private const val REPEAT_MS = 1_000L

        @Volatile
        private var current: CompletableDeferred<Unit>? = null

        /** Rings that have not ended; one that is replaced ends after its successor has begun. Guarded by this object. */
        private var ringing = 0

        /** The volume before the first of them. Guarded by this object. */
        private var personsVolume = 0

        /** Stops the ring that is on, if any. */
        fun stopByPerson() {
            current?.complete(Unit)
        }
    }
}

/** The button "Stop" of the ring's notification. */
internal class RingStopReceiver : BroadcastReceiver() {
    override fun onReceive(context: Context, intent: Intent) = Ringer.stopByPerson()
}

/** The alarm's or the telephone's ringtone; a plain tone on devices that have neither or before they are unlocked. */
private fun systemSound(context: Context): Sound {
    val address = RingtoneManager.getActualDefaultRingtoneUri(context, RingtoneManager.TYPE_ALARM)
        ?: RingtoneManager.getDefaultUri(RingtoneManager.TYPE_RINGTONE)
    val ringtone = address?.let { RingtoneManager.getRingtone(context, it) } ?: return ToneSound()
    ringtone.audioAttributes = AudioAttributes.Builder()
        .setUsage(AudioAttributes.USAGE_ALARM)
        .setContentType(AudioAttributes.CONTENT_TYPE_SONIFICATION)
        .build()
    return object : Sound {
        override fun play() {
            if (!ringtone.isPlaying) ringtone.play()
        }

        override fun stop() = ringtone.stop()
    }
}

private class ToneSound : Sound {
    private val tone = ToneGenerator(AudioManager.STREAM_ALARM, ToneGenerator.MAX_VOLUME)

    override fun play() {
        tone.startTone(ToneGenerator.TONE_CDMA_HIGH_L, TONE_MS)
    }

    override fun stop() = tone.release()

    private companion object {
        const val TONE_MS = 900
    }
}
