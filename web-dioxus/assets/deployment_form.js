// What the form of a deployment leaves to the browser: the viewer's time zone, and the way to what a dry run found.
(() => {
  "use strict";
  const each = (node, css, act) => {
    if (node.matches(css)) act(node);
    else node.querySelectorAll(css).forEach(act);
  };

  function fillZone(field) {
    if (field.value) return;
    field.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  // It appears below what was pressed, often outside of the window.
  function arrive(heading) {
    heading.closest("section")?.scrollIntoView({ block: "start" });
    heading.focus({ preventScroll: true });
  }

  new MutationObserver((records) => {
    for (const record of records) {
      for (const node of record.addedNodes) {
        if (node.nodeType !== Node.ELEMENT_NODE) continue;
        each(node, "[data-zone]", fillZone);
        each(node, "[data-arrive]", arrive);
      }
    }
  }).observe(document.body, { subtree: true, childList: true });
})();
