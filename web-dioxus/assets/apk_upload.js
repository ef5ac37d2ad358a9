// Brings a chosen APK to the server, a part after the other. The page begins the upload and ends it; this sends the bytes
// and says how far it is. Parts grow while they are fast, so that none runs into the server's time limit.
(() => {
  "use strict";
  const PART_MIN = 64 << 10, PART_FIRST = 512 << 10, FAST_MS = 1_000, SLOW_MS = 4_000, SAY_MS = 200, FAILURES_MAX = 8;
  const sleep = (ms) => new Promise((done) => { setTimeout(done, ms); });

  function tell(text) {
    const told = document.querySelector("[data-apk-told]");
    if (!told) return;
    told.value = text;
    told.dispatchEvent(new Event("input", { bubbles: true }));
  }

  // What the file is stays in the browser; the page learns its size and name.
  for (const type of ["input", "change"]) {
    addEventListener(type, (event) => {
      const input = event.target;
      if (!input.dataset?.apkFile) return;
      event.stopImmediatePropagation();
      const file = type === "change" && input.files[0];
      if (file) tell(`file ${file.size} ${file.name}`);
    }, true);
  }

  // A file chooser that is closed without a choice is no reason to close the dialog around it.
  addEventListener("cancel", (event) => {
    if (event.target.matches?.("input[type=file]")) event.stopImmediatePropagation();
  }, true);

  function sendPart(url, offset, bytes, wanted, onprogress) {
    return new Promise((done) => {
      const request = new XMLHttpRequest();
      request.open("POST", url);
      request.setRequestHeader("content-type", "application/octet-stream");
      request.setRequestHeader("upload-offset", String(offset));
      request.upload.onprogress = (event) => {
        if (wanted()) onprogress(event.loaded);
        else request.abort();
      };
      request.onload = () => done({ status: request.status, text: request.responseText });
      request.onerror = request.onabort = () => done({ status: 0, text: "" });
      request.send(bytes);
    });
  }

  async function send(input) {
    const url = input.dataset.uploadTo, partMax = Number(input.dataset.partMax), file = input.files[0];
    if (!url || !file) return;
    const wanted = () => input.isConnected && input.dataset.uploadTo === url;
    let at = 0, most = partMax, part = Math.min(PART_FIRST, most), failures = 0, said = 0;
    const say = (sent) => {
      const now = performance.now();
      if (now - said < SAY_MS) return;
      said = now;
      tell(`sent ${Math.min(sent, file.size)}`);
    };
    while (at < file.size) {
      if (!wanted()) return;
      const began = performance.now();
      const { status, text } = await sendPart(url, at, file.slice(at, at + part), wanted, (sent) => say(at + sent));
      const took = performance.now() - began;
      if (!wanted()) return;
      if (status === 200) {
        at = Number(text);
        failures = 0;
        if (took < FAST_MS) part = Math.min(part * 2, most);
        else if (took > SLOW_MS) part = Math.max(part / 2, PART_MIN);
        say(at);
        continue;
      }
      if (status === 413 && part > PART_MIN) {
        // A proxy takes less than the server does.
        most = part = Math.max(Math.floor(part / 2), PART_MIN);
        continue;
      }
      if (status === 413) return tell("failed A proxy in front of the server refuses parts of the file as too large (413). Raise its limit on request bodies.");
      if (++failures > FAILURES_MAX) return tell("failed The file did not reach the server.");
      if (status === 409) {
        // The part before arrived, though its answer did not.
        at = Number(text);
      } else if (status === 401) {
        const renewed = await fetch("/live/refresh", { method: "POST", cache: "no-store" });
        if (renewed.status !== 204) return tell("failed Your session has ended. Sign in again.");
      } else if ([0, 408, 429, 503].includes(status)) {
        part = Math.max(part / 2, PART_MIN);
        await sleep(Math.min(5_000, 250 * 2 ** failures));
      } else {
        return tell(`failed ${text || "The server rejected the file."}`);
      }
    }
    tell("done");
  }

  new MutationObserver((records) => {
    for (const { target } of records) if (target.dataset.uploadTo) send(target);
  }).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["data-upload-to"] });
})();
