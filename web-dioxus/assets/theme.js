// Applies the chosen theme before the first paint. Loaded without `defer` on purpose.
(() => {
  let theme = null;
  try { theme = localStorage.getItem("nexmdm-theme"); } catch { /* storage is blocked: follow the system */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
