//! Paths and ownership of the private server's files.

use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::geteuid;
use sha2::{Digest as _, Sha256};

use super::command::{Runner, ServerUser};
use super::{Deadline, EmbeddedError, PORT, blocking};

/// The longest path a Unix socket address takes on Linux, in bytes, without its final NUL.
const SOCKET_PATH_LIMIT_BYTES: usize = 107;
/// Changing into a folder takes long only if its file system hangs.
const ENTER_TIMEOUT: Duration = Duration::from_secs(15);

/// Folders of the private server, created with the required owners.
#[derive(Clone, Debug)]
pub(super) struct ServerPaths {
    /// `DATA_DIR/postgres` with links resolved.
    base: PathBuf,
    socket_dir: PathBuf,
    /// User that the server runs as when we are root, else `None`.
    user: Option<ServerUser>,
    /// Owner of our own files when we are root, else `None`.
    files_owner: Option<Owner>,
}

/// A user and a group id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
}

/// A file that exists to be locked.
#[derive(Clone, Debug)]
pub(super) struct LockFile {
    path: PathBuf,
    owner: Option<Owner>,
}

impl LockFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file, making it if need be.
    pub(super) fn open(&self) -> Result<OwnedFd, EmbeddedError> {
        match open(&self.path, OFlags::RDWR) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => {
                return opened.map(OwnedFd::from).map_err(EmbeddedError::io("open", &self.path));
            }
        }
        match create_new(&self.path, 0o600, self.owner) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open(&self.path, OFlags::RDWR),
            created => created,
        }
        .map(OwnedFd::from)
        .map_err(EmbeddedError::io("open", &self.path))
    }
}

impl ServerPaths {
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    pub(super) fn data(&self) -> PathBuf {
        self.base.join("data")
    }

    pub(super) fn conf(&self) -> PathBuf {
        self.base.join("nexmdm.conf")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.base.join("server.log")
    }

    pub(super) fn old_log(&self) -> PathBuf {
        self.base.join("server.log.1")
    }

    pub(super) fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    pub(super) fn start_lock(&self) -> LockFile {
        self.lock_file("start.lock")
    }

    pub(super) fn users_lock(&self) -> LockFile {
        self.lock_file("users.lock")
    }

    fn lock_file(&self, name: &str) -> LockFile {
        LockFile { path: self.base.join(name), owner: self.files_owner }
    }

    /// Runs programs as the server's user.
    pub(super) fn runner(&self) -> Runner {
        Runner { dir: self.base.clone(), user: self.user.clone() }
    }

    /// Owner of the files that the server writes, when that is not this process alone.
    pub(super) fn server_owner(&self) -> Option<Owner> {
        self.user.as_ref().map(|user| Owner { uid: user.uid, gid: user.gid })
    }

    /// Owner of the files that this process alone writes and the server's group may read.
    pub(super) fn shared_owner(&self) -> Option<Owner> {
        self.files_owner.zip(self.server_owner()).map(|(us, server)| Owner { uid: us.uid, gid: server.gid })
    }
}

/// Makes the folders of the private server under `data_dir`. When we are root and the server's
/// user cannot get there, they are made under `clusters_root`, with a link in the data folder.
pub(super) async fn prepare(data_dir: &Path, clusters_root: &Path) -> Result<ServerPaths, EmbeddedError> {
    let data_dir = {
        let data_dir = data_dir.to_path_buf();
        blocking(move || canonical_data_dir(&data_dir)).await?
    };
    let link = data_dir.join("postgres");
    let (found, user, files_owner) = {
        let (data_dir, link) = (data_dir.clone(), link.clone());
        blocking(move || {
            let found = existing(&link)?;
            let (user, files_owner) = users(&data_dir, found.as_deref())?;
            Ok((found, user, files_owner))
        })
        .await?
    };
    let hash = path_hash(&data_dir);
    let base = match (found, &user) {
        (Some(base), _) => base,
        (None, Some(user)) if !can_enter(user, &data_dir).await? => {
            let base = clusters_root.join(&hash);
            tracing::warn!(
                event = "database.kept_elsewhere",
                user = user.name,
                data_dir = %data_dir.display(),
                cluster = %base.display(),
                cause = "PostgreSQL's user cannot enter the data folder"
            );
            blocking(move || make_elsewhere(&base, &link)).await?
        }
        (None, _) => link,
    };

    let runtime_dir = match user {
        // Another user cannot enter our runtime folder.
        Some(_) => None,
        None => std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
    };
    let paths =
        ServerPaths { socket_dir: socket_dir(&base, &hash, runtime_dir.filter(|dir| dir.is_dir()).as_deref()), base, user, files_owner };
    let paths = blocking(move || {
        own_base(&paths)?;
        own_dir(&paths.socket_dir, 0o700, paths.server_owner())?;
        Ok(paths)
    })
    .await?;
    if let Some(user) = &paths.user
        && !can_enter(user, &paths.base).await?
    {
        return Err(EmbeddedError::NotEnterable { path: paths.base, user: user.name.clone() });
    }
    Ok(paths)
}

fn canonical_data_dir(data_dir: &Path) -> Result<PathBuf, EmbeddedError> {
    std::fs::create_dir_all(data_dir).map_err(EmbeddedError::io("make the folder", data_dir))?;
    let path = std::fs::canonicalize(data_dir).map_err(EmbeddedError::io("open", data_dir))?;
    match path.to_str() {
        Some(_) => Ok(path),
        None => Err(EmbeddedError::PathNotUtf8 { path }),
    }
}

/// Target of `link`, or `None` when there is nothing of that name. A link to nowhere is an
/// error, because a disk that is not mounted must not start an empty database.
fn existing(link: &Path) -> Result<Option<PathBuf>, EmbeddedError> {
    match std::fs::symlink_metadata(link) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(EmbeddedError::io("look at", link)(error)),
        Ok(_) => {}
    }
    std::fs::canonicalize(link).map(Some).map_err(EmbeddedError::io("follow the link", link))
}

/// As whom the server runs and who owns our own files: nobody in particular unless we are root.
fn users(data_dir: &Path, base: Option<&Path>) -> Result<(Option<ServerUser>, Option<Owner>), EmbeddedError> {
    if !geteuid().is_root() {
        return Ok((None, None));
    }
    let folder = base.unwrap_or(data_dir);
    let owner = |path: &Path| std::fs::metadata(path).map(|meta| owner_of(&meta)).map_err(EmbeddedError::io("look at", path));
    let folder_owner = owner(folder)?;
    let passwd = Path::new("/etc/passwd");
    let passwd = std::fs::read_to_string(passwd).map_err(EmbeddedError::io("read", passwd))?;
    if folder_owner.uid != 0 {
        // A service user's folder: leave nothing in it that the service could not use.
        return Ok((Some(user_of(&passwd, folder_owner)), Some(folder_owner)));
    }
    let files_owner = Some(Owner { uid: 0, gid: 0 });
    // A cluster stays with its owner, whatever users came or went since it was made.
    let cluster_owner = base.and_then(|base| owner(&base.join("data")).ok()).filter(|owner| owner.uid != 0);
    let user = match cluster_owner {
        Some(owner) => Some(user_of(&passwd, owner)),
        None => parse_passwd(&passwd, "postgres").or_else(|| parse_passwd(&passwd, "nobody")),
    };
    match user {
        Some(user) => Ok((Some(user), files_owner)),
        None => Err(EmbeddedError::NoServerUser),
    }
}

fn owner_of(meta: &Metadata) -> Owner {
    Owner { uid: meta.uid(), gid: meta.gid() }
}

fn passwd_entries(passwd: &str) -> impl Iterator<Item = ServerUser> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(ServerUser { name, uid, gid })
    })
}

/// The ordinary user called `name` in the text of /etc/passwd.
pub(super) fn parse_passwd(passwd: &str, name: &str) -> Option<ServerUser> {
    passwd_entries(passwd).find(|user| user.name == name && user.uid != 0)
}

fn user_of(passwd: &str, owner: Owner) -> ServerUser {
    let user = passwd_entries(passwd).find(|user| user.uid == owner.uid);
    user.unwrap_or_else(|| ServerUser { name: owner.uid.to_string(), uid: owner.uid, gid: owner.gid })
}

/// Asks by trying, because mode bits alone do not tell (ACLs, network file systems).
async fn can_enter(user: &ServerUser, dir: &Path) -> Result<bool, EmbeddedError> {
    let runner = Runner { dir: PathBuf::from("/"), user: Some(user.clone()) };
    let script = ["-c".as_ref(), r#"cd -- "$1""#.as_ref(), "sh".as_ref()];
    let args = script.into_iter().chain([dir.as_os_str()]);
    let deadline = Deadline::after(ENTER_TIMEOUT);
    let finished = runner.run(Path::new("/bin/sh"), args, "", deadline).await?;
    Ok(finished.status.success())
}

/// The folder first and then the link to it, so that a crash leaves no link to nowhere.
fn make_elsewhere(base: &Path, link: &Path) -> Result<PathBuf, EmbeddedError> {
    DirBuilder::new().recursive(true).mode(0o755).create(base).map_err(EmbeddedError::io("make the folder", base))?;
    match std::os::unix::fs::symlink(base, link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(EmbeddedError::io("make the link", link)(error)),
        _ => std::fs::canonicalize(link).map_err(EmbeddedError::io("follow the link", link)),
    }
}

fn own_base(paths: &ServerPaths) -> Result<(), EmbeddedError> {
    // Root's own folder lets the server's group through to what is the server's in it.
    let mode = match (paths.files_owner, paths.server_owner()) {
        (Some(us), Some(server)) if us != server => 0o710,
        _ => 0o700,
    };
    own_dir(&paths.base, mode, paths.shared_owner())?;
    match std::fs::symlink_metadata(paths.data()) {
        Ok(meta) => check_owner(&paths.data(), &meta, paths.server_owner()),
        Err(_) => Ok(()),
    }
}

/// Makes the folder unless it exists, and gives it that mode and owner. One that belongs to
/// somebody else is an error, because its owner could read and replace what is in it.
pub(super) fn own_dir(path: &Path, mode: u32, owner: Option<Owner>) -> Result<(), EmbeddedError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(EmbeddedError::io("make the folder", path)(error));
        }
        _ => {}
    }
    let meta = std::fs::symlink_metadata(path).map_err(EmbeddedError::io("look at", path))?;
    check_owner(path, &meta, owner)?;
    let dir = open(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(EmbeddedError::io("open the folder", path))?;
    // Again, on what was really opened.
    let meta = dir.metadata().map_err(EmbeddedError::io("look at", path))?;
    check_owner(path, &meta, owner)?;
    if let Some(owner) = owner {
        fchown(&dir, Some(owner.uid), Some(owner.gid)).map_err(EmbeddedError::io("change the owner of", path))?;
    }
    dir.set_permissions(Permissions::from_mode(mode)).map_err(EmbeddedError::io("change the mode of", path))
}

fn check_owner(path: &Path, meta: &Metadata, owner: Option<Owner>) -> Result<(), EmbeddedError> {
    let uid = meta.uid();
    if uid == geteuid().as_raw() || owner.is_some_and(|owner| owner.uid == uid) {
        return Ok(());
    }
    Err(EmbeddedError::ForeignOwner { path: path.to_path_buf(), owner: uid })
}

/// Opens what is there and is not a link: in a folder of another user, root follows none.
pub(super) fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Makes a file that must not exist, with that mode and owner.
pub(super) fn create_new(path: &Path, mode: u32, owner: Option<Owner>) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?);
    if let Some(owner) = owner {
        fchown(&file, Some(owner.uid), Some(owner.gid))?;
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// A short name for a path.
pub(super) fn path_hash(path: &Path) -> String {
    hex::encode(&Sha256::digest(path.as_os_str().as_bytes())[..8])
}

/// The first folder whose socket fits an address: under `base`, `runtime_dir` or `/tmp`.
pub(super) fn socket_dir(base: &Path, hash: &str, runtime_dir: Option<&Path>) -> PathBuf {
    let short_name = format!("nexmdm-{hash}");
    let short = runtime_dir.map(|dir| dir.join(&short_name));
    [Some(base.join("socket")), short]
        .into_iter()
        .flatten()
        .find(|dir| dir.is_absolute() && dir.to_str().is_some() && socket_file(dir).as_os_str().len() <= SOCKET_PATH_LIMIT_BYTES)
        .unwrap_or_else(|| Path::new("/tmp").join(short_name))
}

/// The server's socket in `socket_dir`.
pub(super) fn socket_file(socket_dir: &Path) -> PathBuf {
    socket_dir.join(format!(".s.PGSQL.{PORT}"))
}
