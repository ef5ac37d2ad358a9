// The browser's end of a live page: socket, reconnect, address bar, renewal of the sign-in, and what
// cannot be done from the other side of a socket (dialogs, clipboard, default actions, theme).
(() => {
  "use strict";
  const PING_MS = 25_000, PONG_MS = 15_000, RETRY_MAX_MS = 5_000, STABLE_MS = 5_000;
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const here = () => location.pathname + location.search;

  // ---- the socket ----

  let socket = null, pingTimer, deadTimer, stableTimer, attempt = 0, build = null, leaving = false;
  let scrollKept = null;
  function showConnected(on, why = "Connection lost - reconnecting…") {
    root.dataset.live = on ? "on" : "off";
    const banner = byId("live-banner");
    const text = on ? "" : why;
    if (banner.textContent !== text) banner.textContent = text;
    banner.hidden = on;
    byId("main").inert = !on;
  }

  function mount() {
    // A fresh root, so that nothing of the page before survives.
    const old = byId("main"), fresh = document.createElement("div");
    const scroller = old.querySelector("[data-scroll-kept]");
    if (scroller) scrollKept = { path: here(), top: scroller.scrollTop };
    fresh.id = "main";
    old.replaceWith(fresh);
    window.interpreter = new NativeInterpreter("", false);
    window.interpreter.initialize(fresh);
    window.interpreter.liveview = true;
    window.interpreter.ipc = window.ipc = {
      postMessage(message) {
        if (message !== undefined && socket?.readyState === WebSocket.OPEN) socket.send(message);
      },
    };
  }

  // After a reconnect the list comes back a moment after the page.
  function restoreScroll(node) {
    if (!scrollKept) return;
    const scroller = node.matches("[data-scroll-kept]") ? node : node.querySelector("[data-scroll-kept]");
    if (!scroller) return;
    if (scrollKept.path === here()) scroller.scrollTop = scrollKept.top;
    scrollKept = null;
  }

  function connect() {
    const url = new URL("/live/ws", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("path", here());
    let first = true;
    const mine = socket = new WebSocket(url);
    mine.binaryType = "arraybuffer";
    mine.onopen = () => {
      // A page that fails as soon as it is opened must not be opened in a tight loop.
      stableTimer = setTimeout(() => { attempt = 0; }, STABLE_MS);
      pingTimer = setInterval(() => {
        mine.send("__ping__");
        clearTimeout(deadTimer);
        deadTimer = setTimeout(() => mine.close(), PONG_MS);
      }, PING_MS);
    };
    mine.onmessage = (message) => {
      clearTimeout(deadTimer);
      if (new Uint8Array(message.data)[0] !== 1) return;
      if (first) mount();
      window.interpreter.run_from_bytes(message.data.slice(1));
      if (first) {
        first = false;
        showConnected(true);
      }
    };
    mine.onclose = () => {
      clearInterval(pingTimer);
      clearTimeout(deadTimer);
      clearTimeout(stableTimer);
      if (leaving) return;
      showConnected(false);
      retry();
    };
  }

  function retry() {
    const wait = Math.min(RETRY_MAX_MS, 250 * 2 ** attempt++);
    setTimeout(probe, wait * (0.75 + Math.random() / 2));
  }

  // Is the server there, is it the same build, does the sign-in hold?
  async function probe() {
    try {
      let answer = await fetch("/live/check", { cache: "no-store" });
      if (answer.status === 401) {
        const renewed = await renew();
        if (renewed === 401) return void location.assign("/login?next=" + encodeURIComponent(here()));
        if (renewed !== 204) return retry();
        answer = await fetch("/live/check", { cache: "no-store" });
      }
      if (answer.status === 429) showConnected(false, await answer.text());
      if (!answer.ok) return retry();
      const found = await answer.text();
      if (build !== null && found !== build) {
        // A reload may lose what cannot be shown again. The page stays as it is until the person has it.
        if (document.dispatchEvent(new CustomEvent("live:reload", { cancelable: true }))) return void location.reload();
        showConnected(false, "The server was updated. Copy what you need from this page, then reload it.");
        byId("main").inert = false;
        return;
      }
      build = found;
      connect();
    } catch {
      showConnected(false);
      retry();
    }
  }

  addEventListener("pagehide", () => { leaving = true; socket?.close(); });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  addEventListener("online", () => { if (socket?.readyState === WebSocket.CLOSED) attempt = 0; });

  // ---- the sign-in ----

  const renew = async () => (await fetch("/live/refresh", { method: "POST", cache: "no-store" })).status;

  function accessUntil() {
    const found = /(?:^|; )(?:__Host-)?nexmdm_access_until=(\d+)/.exec(document.cookie);
    return found ? Number(found[1]) * 1000 : 0;
  }

  // Renews when less than a third of the life is left, but at least two minutes ahead; another tab may
  // have done it, which shows in the cookie. The token's whole life is what is left right after renewal.
  let wholeLife = Math.max(60_000, accessUntil() - Date.now());
  setInterval(async () => {
    const left = accessUntil() - Date.now();
    wholeLife = Math.max(wholeLife, left);
    if (left > Math.min(wholeLife / 2, Math.max(wholeLife / 3, 120_000))) return;
    try { await renew(); } catch { /* the server is away: tried again soon */ }
  }, 20_000);

  // ---- attributes that the server sets and the browser acts on ----

  // Entries of the history by number, and how far each was scrolled when it was left.
  const scrolled = new Map();
  let entry = Number(history.state?.entry) || 0, entries = entry;
  history.scrollRestoration = "manual";
  if (history.state?.entry === undefined) history.replaceState({ entry }, "");

  addEventListener("scroll", (event) => {
    const known = scrolled.get(entry) ?? { list: 0, page: 0 };
    if (event.target === document) known.page = scrollY;
    else if (event.target.hasAttribute?.("data-scroll-kept")) known.list = event.target.scrollTop;
    else return;
    scrolled.set(entry, known);
  }, { capture: true, passive: true });

  // Content arrives a moment after the page, so the page is scrolled once it is long enough.
  let pageKept = 0;
  function restorePage() {
    if (pageKept === 0 || root.scrollHeight - innerHeight < pageKept) return;
    scrollTo(0, pageKept);
    pageKept = 0;
  }
  for (const type of ["wheel", "touchstart", "keydown", "mousedown"]) {
    addEventListener(type, () => { pageKept = 0; }, { passive: true });
  }

  const leave = (path) => document.dispatchEvent(new CustomEvent("live:leave", { detail: path.split("?")[0] }));

  let applied = here();
  function applyControl() {
    const control = byId("live-ctl");
    if (!control) return;
    const { path, mode, title } = control.dataset;
    if (title && document.title !== title) document.title = title;
    if (!path || path === applied) return;
    const samePage = path.split("?")[0] === applied.split("?")[0];
    scrollKept = null;
    pageKept = 0;
    if (!samePage) leave(applied);
    applied = path;
    if (path === here()) return;
    if (mode === "replace") history.replaceState({ entry }, "", path);
    else history.pushState({ entry: entry = ++entries }, "", path);
    if (samePage) return;
    document.querySelector("h1")?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  function openDialogs(node) {
    const dialogs = node.matches("dialog[data-modal]") ? [node] : node.querySelectorAll("dialog[data-modal]");
    for (const dialog of dialogs) {
      if (dialog.open) continue;
      dialog.opener = document.activeElement;
      dialog.showModal();
    }
  }

  // A box that stands for some but not all.
  const mixBox = (box) => { box.indeterminate = box.dataset.mixed === "true"; };

  new MutationObserver((records) => {
    applyControl();
    for (const record of records) {
      if (record.type === "attributes") {
        if (record.attributeName === "data-mixed") mixBox(record.target);
        if (record.attributeName === "data-scroll-top") record.target.scrollTop = 0;
        if (record.attributeName === "data-focus" && record.target.dataset.focus) focusIn(record.target);
        continue;
      }
      for (const node of record.addedNodes) {
        if (node.nodeType !== Node.ELEMENT_NODE) continue;
        openDialogs(node);
        restoreScroll(node);
        markTheme(node);
        for (const box of node.querySelectorAll("[data-mixed]")) mixBox(box);
      }
      for (const node of record.removedNodes) {
        if (node.opener?.isConnected) node.opener.focus();
      }
    }
    restorePage();
  }).observe(document.body, {
    childList: true, subtree: true, attributes: true,
    attributeFilter: ["data-path", "data-title", "data-scroll-top", "data-focus", "data-mixed"],
  });

  // `data-focus` names the field that a refused form wants corrected.
  function focusIn(form) {
    form.querySelector(`[name="${CSS.escape(form.dataset.focus.split(":")[0])}"]`)?.focus();
  }

  addEventListener("popstate", (event) => {
    const input = byId("live-nav");
    if (!input) return;
    if (here().split("?")[0] !== applied.split("?")[0]) leave(applied);
    applied = here();
    entry = Number(event.state?.entry) || 0;
    const known = scrolled.get(entry);
    scrollKept = known && { path: here(), top: known.list };
    pageKept = known?.page ?? 0;
    scrollTo(0, 0);
    input.value = applied;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });

  // ---- default actions, which a handler on the server comes too late to prevent ----

  // The second click of a double click comes before any answer: a form is sent again once that time is over, or something was changed in it.
  const AGAIN_MS = 1_000;
  addEventListener("submit", (event) => {
    const form = event.target;
    if (form.hasAttribute("action")) return;
    event.preventDefault();
    const now = performance.now();
    if (now - (form.sentAt ?? -AGAIN_MS) < AGAIN_MS) return void event.stopImmediatePropagation();
    form.sentAt = now;
  }, true);
  for (const type of ["input", "change"]) {
    addEventListener(type, (event) => { if (event.target.form) delete event.target.form.sentAt; }, true);
  }

  addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-spa]");
    const plain = !event.button && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
    if (link && plain) event.preventDefault();
  }, true);

  // A chosen file goes to the server by itself; the page is told where to find it.
  async function upload(input) {
    const file = input.files[0], told = document.querySelector("[data-upload-told]");
    if (!file || !told) return;
    const tell = (text) => {
      told.value = text;
      told.dispatchEvent(new Event("input", { bubbles: true }));
    };
    input.value = "";
    const most = Number(input.dataset.uploadMax);
    if (file.size > most) return tell(`failed The file is larger than ${input.dataset.uploadMaxText}.`);
    try {
      // Whoever is refused is not read to the end, and the browser may then miss the answer: the sign-in is renewed before.
      const check = await fetch("/live/check", { cache: "no-store" });
      if (check.status === 401) await renew();
      const answer = await fetch(input.dataset.upload, { method: "POST", body: file, cache: "no-store" });
      tell(answer.ok ? await answer.text() : `failed ${await answer.text() || "The server rejected the file."}`);
    } catch {
      tell("failed The file did not reach the server.");
    }
  }

  for (const type of ["input", "change"]) {
    addEventListener(type, (event) => {
      if (!event.target.dataset?.upload) return;
      event.stopImmediatePropagation();
      if (type === "change") upload(event.target);
    }, true);
  }

  // Typing in a search field reaches the server once it pauses.
  addEventListener("input", (event) => {
    const field = event.target;
    const wait = Number(field.dataset?.debounceMs);
    if (!wait || event.settled) return;
    event.stopImmediatePropagation();
    clearTimeout(field.settling);
    field.settling = setTimeout(() => {
      const settled = new Event("input", { bubbles: true });
      settled.settled = true;
      field.dispatchEvent(settled);
    }, wait);
  }, true);

  // "/" goes to the search field, as in many tools.
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, textarea, select, dialog")) return;
    const search = document.querySelector("[data-search]");
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  });

  // ---- clipboard, downloads, times ----

  async function copyText(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without TLS there is no clipboard API.
      const area = document.createElement("textarea");
      area.value = text;
      area.setAttribute("readonly", "");
      area.className = "visually-hidden";
      (document.querySelector("dialog[open]") ?? document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }

  addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy], [data-download]");
    if (!button) return;
    // Long texts stand on the page once, in the element that `data-from` names.
    const from = button.dataset.from && byId(button.dataset.from).textContent;
    if (button.dataset.download) {
      const link = document.createElement("a");
      const type = button.dataset.download.endsWith(".csv") ? "text/csv" : "application/octet-stream";
      link.href = URL.createObjectURL(new Blob([from || button.dataset.content], { type }));
      link.download = button.dataset.download;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      return;
    }
    await copyText(from || button.dataset.copy);
    button.focus();
    button.dataset.copied = "yes";
    clearTimeout(button.uncopy);
    button.uncopy = setTimeout(() => { delete button.dataset.copied; }, 1_500);
  });

  // The exact time in the viewer's zone, filled in when it is about to be seen.
  const exactly = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  for (const type of ["mouseover", "focusin"]) {
    addEventListener(type, (event) => {
      const time = event.target.closest?.("time[datetime]");
      if (time) time.title = exactly.format(new Date(time.dateTime));
    });
  }

  // ---- theme ----

  function markTheme(node) {
    const chosen = root.dataset.theme ?? "system";
    const buttons = node.querySelectorAll?.("[data-theme-set]") ?? [];
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.themeSet === chosen));
  }

  addEventListener("click", (event) => {
    const chosen = event.target.closest?.("[data-theme-set]")?.dataset.themeSet;
    if (!chosen) return;
    try {
      if (chosen === "system") localStorage.removeItem("nexmdm-theme");
      else localStorage.setItem("nexmdm-theme", chosen);
    } catch { /* storage is blocked: the choice lasts for this page */ }
    if (chosen === "system") delete root.dataset.theme;
    else root.dataset.theme = chosen;
    markTheme(document);
  });

  probe();
})();
