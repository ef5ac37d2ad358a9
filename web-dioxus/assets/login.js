// A link from another site arrives without cookies (SameSite=Strict), so the server shows the form
// to someone who is signed in. A request from here carries the cookies: is it sent on, so is the page.
(async () => {
  try {
    const answer = await fetch("/login", { cache: "no-store", redirect: "manual" });
    const untouched = !document.querySelector("input[name=password]").value;
    if (answer.type === "opaqueredirect" && untouched) location.replace(document.body.dataset.next || "/");
  } catch { /* the server is away: the form stays */ }
})();
