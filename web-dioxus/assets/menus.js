// The navigation of small screens, and menus: opened and closed in the browser alone.
(() => {
  "use strict";
  const root = document.documentElement;

  function openNav(open) {
    if (open) root.dataset.nav = "open";
    else delete root.dataset.nav;
    document.querySelector("[data-nav-toggle]")?.setAttribute("aria-expanded", String(open));
  }

  addEventListener("click", (event) => {
    if (event.target.closest("[data-nav-toggle]")) return openNav(root.dataset.nav !== "open");
    if (root.dataset.nav && (event.target.closest("a[data-spa]") || !event.target.closest("#nav"))) openNav(false);
  });

  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (root.dataset.nav) {
      openNav(false);
      document.querySelector("[data-nav-toggle]")?.focus();
    }
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      menu.open = false;
      if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
    }
  });

  // A menu closes when the person goes on elsewhere.
  addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      if (!menu.contains(event.target) || event.target.closest("a[data-spa]")) menu.open = false;
    }
  });
})();
