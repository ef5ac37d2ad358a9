#!/usr/bin/env python3
"""The way to the first device (docs/quickstart.md, "Without a phone") inside both images, as a runtime would start them: the root file
system read-only, /data alone writable, the user, entry point, environment and health check of the image. No container engine is needed:
mounts and chroot, in namespaces of this process that end with it.

    unshare -mnpf --kill-child walk.py STANDALONE-ROOT STANDALONE-CONFIG.json NEXMDM-ROOT NEXMDM-CONFIG.json FOLDER
"""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request

DEADLINE_S = 120
URL = "http://127.0.0.1:8080"
PASSWORD = "walk-through-the-image"


def fail(text):
    sys.exit(f"walk: {text}")


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


class Image:
    """An image's root and configuration, mounted as a runtime with a read-only root does."""

    def __init__(self, name, root, config_file, folder):
        with open(config_file, encoding="utf-8") as file:
            self.config = json.load(file)
        self.name = name
        self.view = os.path.join(folder, f"{name}.view")
        self.data = os.path.join(folder, f"{name}.data")
        user, _, group = self.config["User"].partition(":")
        if not (user.isdigit() and group.isdigit() and int(user) != 0):
            fail(f"{name}: the user is not a number other than 0: {self.config['User']!r}")
        os.makedirs(self.view)
        os.makedirs(self.data)
        os.chown(self.data, int(user), int(group))
        mount("--bind", root, self.view)
        mount("-o", "remount,bind,ro,nosuid,nodev", self.view)
        mount("--bind", self.data, f"{self.view}/data")
        mount("-t", "proc", "proc", f"{self.view}/proc")
        mount("-t", "tmpfs", "-o", "mode=755", "dev", f"{self.view}/dev")
        for device, number in [("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)]:
            os.mknod(f"{self.view}/dev/{device}", 0o666 | stat.S_IFCHR, os.makedev(1, number))
            os.chmod(f"{self.view}/dev/{device}", 0o666)
        os.mkdir(f"{self.view}/dev/shm")
        mount("-t", "tmpfs", "-o", "mode=1777", "shm", f"{self.view}/dev/shm")

    def command(self, words, variables):
        # tini is the first process of a container, which those below fall to; here it is told to be that.
        env = [*self.config["Env"], "TINI_SUBREAPER=1", *(f"{name}={value}" for name, value in variables.items())]
        enter = ["setpriv", "--no-new-privs", "env", "-i", *env, "chroot", f"--userspec={self.config['User']}", self.view]
        # Found by this machine, not by the PATH of the image.
        enter[0], enter[enter.index("chroot")] = "/usr/bin/setpriv", "/usr/sbin/chroot"
        return [*enter, *words]

    def start(self, variables, arguments=None):
        """The entry point, as a container."""
        words = [*self.config["Entrypoint"], *(arguments or self.config["Cmd"])]
        return subprocess.Popen(self.command(words, variables), stdout=subprocess.PIPE, text=True)

    def run(self, words, variables):
        """A further process in it, as `docker exec`."""
        return subprocess.run(self.command(words, variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=DEADLINE_S)

    def health(self, variables):
        kind, *words = self.config["Healthcheck"]["Test"]
        if kind != "CMD":
            fail(f"{self.name}: the health check needs a shell")
        return self.run(words, variables)


def call(path, body=None, token=None):
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(URL + path, headers=headers, data=None if body is None else json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read() or b"null")


def until(what, come_true, process=None):
    end = time.monotonic() + DEADLINE_S
    while not come_true():
        if process is not None and process.poll() is not None:
            fail(f"the node ended with {process.returncode} before {what}")
        if time.monotonic() > end:
            fail(f"waited {DEADLINE_S} s for {what}")
        time.sleep(0.1)


def is_ready():
    try:
        with urllib.request.urlopen(f"{URL}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def stop(process, name):
    process.send_signal(signal.SIGTERM)
    code = process.wait(timeout=30)
    if code != 0:
        fail(f"{name}: SIGTERM ends it with {code}")


def looked_at(image, shell):
    """What is, and what is not, in the root file system."""
    for label in ["title", "description", "licenses", "version", "revision", "created"]:
        if not image.config["Labels"].get(f"org.opencontainers.image.{label}"):
            fail(f"{image.name}: the label {label} is missing")
    programs = []
    for folder, folders, files in os.walk(image.view):
        if os.path.relpath(folder, image.view).split("/")[0] in ("proc", "dev", "data"):
            folders.clear()
            continue
        for name in files:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                fail(f"{image.name}: {path} runs as another user")
            # A sticky folder that all may write to, as /tmp, is read-only by its mount.
            if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
                fail(f"{image.name}: {path} is writable by all")
            if os.path.basename(folder) in ("bin", "sbin") and not name.endswith(".debug"):
                programs.append(name)
    shells = sorted(name for name in programs if name in ("sh", "dash", "bash", "busybox"))
    if bool(shells) != shell:
        fail(f"{image.name}: shells: {shells}")
    for absent in ["apt-get", "dpkg", "perl", "python3", "mount", "su", "tar"]:
        if absent in programs:
            fail(f"{image.name}: {absent} is in it")
    with open(f"{image.view}/usr/share/doc/nexmdm/sbom.cdx.json", encoding="utf-8") as file:
        bill = json.load(file)
    names = {component["name"] for component in bill["components"]}
    for wanted in ["node", "tokio", "libc6", "ca-certificates"]:
        if wanted not in names:
            fail(f"{image.name}: the bill of materials does not name {wanted}")
    size = sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, files in os.walk(image.view, onerror=None) for name in files
               if not os.path.relpath(folder, image.view).startswith(("proc", "dev", "data")))
    print(f"{image.name}: {len(programs)} programs ({', '.join(sorted(programs))}), {len(bill['components'])} components, {size >> 20} MiB")


def first_device(image, variables):
    """A token, a device, its heartbeat, and the device in the list."""
    made = image.run(["/usr/local/bin/nexmdm", "token", "create", "--alias", f"{image.name}-1"], variables)
    if made.returncode != 0:
        fail(f"{image.name}: token create: {made.stderr}")
    enrolled = call("/v1/register", {}, made.stdout.strip())
    call("/v1/heartbeat", {"battery": {"pct": 83}}, enrolled["device_token"])
    admin = call("/v1/auth/login", {"username": "admin", "password": PASSWORD})["access_token"]
    seen = lambda: [d for d in call("/v1/devices", token=admin)["items"] if d["alias"] == f"{image.name}-1" and (d["last"] or {}).get("battery_pct") == 83]
    until("the device with its heartbeat in the list", seen)
    sent = call(f"/v1/devices/{enrolled['device_id']}/commands", {"action": "ping", "params": {}}, admin)
    # The next heartbeat's answer brings it.
    answers = lambda: json.dumps(call("/v1/heartbeat", {"battery": {"pct": 82}}, enrolled["device_token"]))
    until("the command in a heartbeat's answer", lambda: sent["request_id"] in answers())
    return admin


def main(standalone_root, standalone_config, nexmdm_root, nexmdm_config, folder):
    # Of the network of this process alone.
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    mount("--make-rprivate", "/")
    standalone = Image("standalone", standalone_root, standalone_config, folder)
    nexmdm = Image("nexmdm", nexmdm_root, nexmdm_config, folder)
    looked_at(standalone, shell=True)
    looked_at(nexmdm, shell=False)

    # Secrets by file, as volumes of Kubernetes have them: root's, and readable for the group.
    password = os.path.join(standalone.data, "password")
    with open(password, "w", encoding="utf-8") as file:
        file.write(PASSWORD + "\n")
    os.chown(password, 0, int(standalone.config["User"].split(":")[1]))
    os.chmod(password, 0o440)
    by_file = {"NEXMDM__ADMIN__INITIAL_PASSWORD_FILE": "/data/password", "NEXMDM__LOG__FILTER": "warn"}

    node = standalone.start(by_file)
    until("readiness", is_ready, node)
    healthy = standalone.health(by_file)
    if healthy.returncode != 0:
        fail(f"standalone: the health check of a node that is ready: {healthy.stdout}{healthy.stderr}")
    first_device(standalone, by_file)
    shell = standalone.run(["/bin/sh", "-c", "for f in / /etc /tmp /usr /var /run; do (echo > $f/x) 2>/dev/null && echo $f; done; :"], {})
    if shell.stdout.strip():
        fail(f"standalone: writable besides /data: {shell.stdout.split()}")
    status = open(f"{standalone.view}/proc/{node.pid}/status", encoding="utf-8").read()
    if not re.search(r"^CapEff:\s+0+$", status, re.MULTILINE):
        fail("standalone: it has capabilities")
    stop(node, "standalone")
    if standalone.health(by_file).returncode == 0:
        fail("standalone: the health check of a node that was stopped succeeds")
    print("standalone: first device, health, stop")

    # The data outlive the container.
    node = standalone.start(by_file)
    until("readiness after a restart", is_ready, node)
    admin = call("/v1/auth/login", {"username": "admin", "password": PASSWORD})["access_token"]
    if [device["alias"] for device in call("/v1/devices", token=admin)["items"]] != ["standalone-1"]:
        fail("standalone: the device is gone after a restart")
    stop(node, "standalone")
    print("standalone: the device is there after a restart")

    # The other image, on a PostgreSQL that the first one runs, over its socket.
    shared = f"{nexmdm.view}/data/database"
    os.makedirs(shared)
    mount("--bind", standalone.data, shared)
    database = standalone.start({}, ["database"])
    url = database.stdout.readline().strip().replace("%2Fdata%2F", "%2Fdata%2Fdatabase%2F")
    without = nexmdm.start({"NEXMDM__LOG__FILTER": "error"})
    if without.wait(timeout=DEADLINE_S) == 0:
        fail("nexmdm: it starts without a database")
    variables = {
        "DATABASE_URL": url,
        "NEXMDM__SECRETS__MASTER_KEY_FILE": "/data/database/secrets/master.key",
        "NEXMDM__SECRETS__JWT_KEY_FILE": "/data/database/secrets/jwt.key",
        "NEXMDM__SECRETS__CLUSTER_KEY_FILE": "/data/database/secrets/cluster.key",
        "NEXMDM__LOG__FILTER": "warn",
    }
    node = nexmdm.start(variables)
    until("readiness", is_ready, node)
    if nexmdm.health(variables).returncode != 0:
        fail("nexmdm: the health check of a node that is ready")
    first_device(nexmdm, variables)
    stop(node, "nexmdm")
    stop(database, "the database")
    print("nexmdm: first device, health, stop")


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except urllib.error.HTTPError as error:
        fail(f"{error.url}: {error.code} {error.read(500)!r}")
