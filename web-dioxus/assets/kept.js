// What a lost connection must not lose: secrets that a page has shown once, and forms that are being filled in.
(() => {
  "use strict";
  const DRAFT = "nexmdm-draft:", DRAFT_CHARS_MAX = 100_000, SECRET_BYTES_MAX = 200_000;

  // In this tab's memory only, until the person leaves the page: secrets by name, and passwords of drafts.
  const secrets = new Map(), hidden = new Map();

  function each(node, css, act) {
    if (node.matches(css)) act(node);
    node.querySelectorAll(css).forEach(act);
  }

  // ---- secrets ----

  // The page after a reconnect has none; it is told the one of the page before.
  function tellSecret(field) {
    const { secretName: name, secret } = field.dataset;
    if (secret) return void secrets.set(name, secret);
    const kept = secrets.get(name);
    if (field.told || kept === undefined || new Blob([kept]).size > SECRET_BYTES_MAX) return;
    field.told = true;
    field.value = kept;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.value = "";
  }

  function changeSecret(field) {
    const { secretName: name, secret } = field.dataset;
    if (secret) secrets.set(name, secret);
    else secrets.delete(name);
  }

  // ---- drafts: in the tab's session storage, which also survives a reload; each account has its own ----

  const prefix = (path) => `${DRAFT}${document.body.dataset.account}:${path}:`;
  const keyOf = (form) => prefix(location.pathname) + form.dataset.draft;
  const isHidden = (field) => field.type === "password";
  const isBox = (field) => field.type === "checkbox" || field.type === "radio";
  const nameOf = (field) => (isBox(field) ? `${field.name}=${field.value}` : field.name);
  const inDraft = (field) => field.form?.dataset?.draft && field.name && field.type !== "file";

  function read(key) {
    try { return JSON.parse(sessionStorage.getItem(key)) ?? {}; } catch { return {}; }
  }

  function stored() {
    try { return Object.keys(sessionStorage).filter((key) => key.startsWith(DRAFT)); } catch { return []; }
  }

  function drop(wanted) {
    for (const key of stored()) if (wanted(key)) sessionStorage.removeItem(key);
    for (const key of hidden.keys()) if (wanted(key)) hidden.delete(key);
  }

  function note(event) {
    const field = event.target;
    if (!inDraft(field) || field.form.restoring) return;
    const key = keyOf(field.form);
    if (isHidden(field)) return void hidden.set(`${key} ${field.name}`, field.value);
    const draft = read(key);
    if (field.type === "radio") {
      for (const other of Object.keys(draft)) if (other.startsWith(`${field.name}=`)) delete draft[other];
    }
    draft[nameOf(field)] = isBox(field) ? field.checked : field.value;
    const text = JSON.stringify(draft);
    try { if (text.length <= DRAFT_CHARS_MAX) sessionStorage.setItem(key, text); } catch { /* storage is full or blocked */ }
  }

  // A field may appear only once another has its value, so each is filled in when it comes.
  function restore(field) {
    if (!inDraft(field) || field.restored) return;
    field.restored = true;
    const form = field.form, key = keyOf(form), property = isBox(field) ? "checked" : "value";
    const kept = isHidden(field) ? hidden.get(`${key} ${field.name}`) : read(key)[nameOf(field)];
    if (kept === undefined || kept === field[property]) return;
    field[property] = kept;
    form.restoring = true;
    for (const type of ["input", "change"]) field.dispatchEvent(new Event(type, { bubbles: true }));
    form.restoring = false;
  }

  addEventListener("input", note, true);
  addEventListener("change", note, true);

  document.addEventListener("live:leave", (event) => {
    secrets.clear();
    drop((key) => key.startsWith(prefix(event.detail)));
  });
  document.addEventListener("live:reload", (event) => { if (secrets.size > 0) event.preventDefault(); });

  new MutationObserver((records) => {
    for (const record of records) {
      if (record.type === "attributes") changeSecret(record.target);
      for (const node of record.addedNodes) {
        if (node.nodeType !== Node.ELEMENT_NODE) continue;
        each(node, "[data-secret-name]", tellSecret);
        each(node, "[data-draft] :is(input, select, textarea)", restore);
      }
      for (const node of record.removedNodes) {
        // A form that the page took away is done with; one that went with its connection is not.
        if (node.nodeType !== Node.ELEMENT_NODE || node.id === "main") continue;
        each(node, "form[data-draft]", (form) => drop((key) => key.startsWith(keyOf(form))));
      }
    }
  }).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-secret"] });

  drop((key) => !key.startsWith(prefix(location.pathname)));
})();
