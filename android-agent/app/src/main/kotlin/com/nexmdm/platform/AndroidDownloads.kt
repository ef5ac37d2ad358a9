package com.nexmdm.platform

import android.content.Context
import android.os.StatFs
import com.nexmdm.core.port.DownloadFolder
import java.io.File

/** Downloads in the no-backup folder: unlike the cache, the system does not clear it while an installation is under way. */
internal class AndroidDownloads(context: Context) : DownloadFolder {
    override val folder: File = File(context.deviceProtected().noBackupFilesDir, "downloads").apply { mkdirs() }

    override fun freeBytes(): Long = try {
        StatFs(folder.path).availableBytes
    } catch (_: IllegalArgumentException) {
        // The folder is gone; nothing can be written to it.
        0
    }
}
