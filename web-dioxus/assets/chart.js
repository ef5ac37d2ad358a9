// Charts and times: the cursor and its words, the axis below a plot, and times in the viewer's zone.
// The server sends what there is to say along with the picture; no move of the mouse reaches it.
(() => {
  "use strict";
  const LABEL_PX = 72, EDGE_PX = 22, HOUR_S = 3600, DAY_S = 86_400;
  const format = (options) => new Intl.DateTimeFormat(undefined, options);
  const hourMinute = format({ hour: "numeric", minute: "2-digit" });
  const dayMonth = format({ day: "numeric", month: "short" });
  const exactly = {
    minute: format({ dateStyle: "medium", timeStyle: "short" }),
    day: format({ dateStyle: "medium" }),
  };
  const when = format({ weekday: "short", day: "numeric", month: "short", hour: "numeric", minute: "2-digit" });

  function make(tag, className, text) {
    const element = document.createElement(tag);
    element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // ---- times ----

  function fillTime(time) {
    const at = new Date(time.dateTime);
    const text = Number.isNaN(at.getTime()) ? time.dateTime : exactly[time.dataset.local].format(at);
    if (time.textContent !== text) time.textContent = text;
  }

  // Round hours of the viewer's clock, or midnights when the span is longer; as many as there is room for.
  function ticks(from, to, room) {
    const fits = (step) => ((to - from) / step) * LABEL_PX <= room;
    const hours = [1, 2, 3, 6, 12].find((hours) => fits(hours * HOUR_S));
    const found = [];
    if (to - from <= 2 * DAY_S && hours) {
      const at = new Date(from * 1000);
      at.setMinutes(0, 0, 0);
      // Hours are counted on the clock: a day may have 23 or 25 of them.
      for (; at / 1000 <= to; at.setTime(at.getTime() + HOUR_S * 1000)) {
        if (at / 1000 >= from && at.getHours() % hours === 0) {
          const midnight = at.getHours() === 0;
          found.push({ at: at / 1000, text: (midnight ? dayMonth : hourMinute).format(at), midnight });
        }
      }
      return found;
    }
    const days = [1, 2, 3, 5, 7, 14].find((days) => fits(days * DAY_S)) ?? 30;
    const at = new Date(to * 1000);
    at.setHours(0, 0, 0, 0);
    for (; at / 1000 >= from; at.setDate(at.getDate() - days)) {
      found.push({ at: at / 1000, text: dayMonth.format(at), midnight: false });
    }
    return found;
  }

  function fillAxis(axis) {
    const [from, to] = axis.dataset.times.split(" ").map(Number);
    const room = axis.clientWidth || 600;
    axis.replaceChildren();
    for (const tick of ticks(from, to, room)) {
      const along = (tick.at - from) / (to - from);
      if (along * room < EDGE_PX || (1 - along) * room < EDGE_PX) continue;
      const label = make("span", tick.midnight ? "midnight" : "", tick.text);
      label.style.left = `${along * 100}%`;
      axis.append(label);
    }
  }

  // ---- the cursor ----

  const keys = { ArrowLeft: -1, ArrowRight: 1, PageUp: -12, PageDown: 12, Home: -Infinity, End: Infinity };
  let pointed = null;

  function dataOf(plot) {
    const text = plot.dataset.chart;
    if (plot.readText !== text) {
      plot.readText = text;
      plot.read = JSON.parse(text);
    }
    return plot.read;
  }

  function nearest(points, at) {
    let low = 0, high = points.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (points[middle][0] < at) low = middle + 1; else high = middle;
    }
    return low > 0 && at - points[low - 1][0] < points[low][0] - at ? low - 1 : low;
  }

  // Shows the cursor at a time; with words only where it is led, on its companions without.
  function draw(plot, at, words) {
    const data = dataOf(plot), cursor = plot.querySelector("[data-chart-cursor]");
    const index = data.points.length ? nearest(data.points, at) : -1;
    const found = index >= 0 && Math.abs(data.points[index][0] - at) <= data.gap ? data.points[index] : null;
    const shown = found ? found[0] : at;
    const along = Math.min(1, Math.max(0, (shown - data.from) / (data.to - data.from)));
    const tones = plot.dataset.tones.split(" ");
    cursor.replaceChildren();
    const hair = make("div", "chart-hair");
    hair.style.left = `${along * 100}%`;
    cursor.append(hair);
    found?.[1].forEach((up, series) => {
      if (up === null) return;
      const dot = make("div", `chart-dot tone-${tones[series]}`);
      dot.style.left = `${along * 100}%`;
      dot.style.bottom = `${up * 100}%`;
      cursor.append(dot);
    });
    if (!words) return found;
    const tip = make("div", along > 0.5 ? "chart-tip left" : "chart-tip");
    tip.style.left = `${along * 100}%`;
    tip.append(make("div", "chart-tip-time", when.format(new Date(shown * 1000))));
    const many = data.names.length > 1;
    data.names.forEach((name, series) => {
      const text = found?.[2][series];
      if (!text) return;
      const row = make("div", "chart-tip-row");
      if (many) row.append(make("span", `chart-key tone-${tones[series]}`), make("span", "", name));
      row.append(make("strong", "", text));
      tip.append(row);
    });
    if (!found) tip.append(make("div", "chart-tip-row", "No heartbeats"));
    cursor.append(tip);
    return found;
  }

  function companions(plot) {
    const { from, to } = dataOf(plot);
    return [...document.querySelectorAll(".chart-plot")].filter((other) => {
      const data = other !== plot && dataOf(other);
      return data && data.from === from && data.to === to;
    });
  }

  function point(plot, at) {
    plot.cursorAt = at;
    const found = draw(plot, at, true);
    for (const other of companions(plot)) draw(other, at, false);
    return found;
  }

  function leave(plot) {
    if (!plot) return;
    plot.cursorAt = null;
    for (const shown of [plot, ...companions(plot)]) shown.querySelector("[data-chart-cursor]").replaceChildren();
  }

  addEventListener("pointermove", (event) => {
    const plot = event.target.closest?.(".chart-plot");
    if (pointed && pointed !== plot) leave(pointed);
    pointed = plot ?? null;
    if (!plot) return;
    const box = plot.getBoundingClientRect(), { from, to } = dataOf(plot);
    point(plot, from + ((event.clientX - box.left) / box.width) * (to - from));
  });
  document.documentElement.addEventListener("pointerleave", () => { leave(pointed); pointed = null; });

  function say(plot, found) {
    if (!found) return;
    const { names } = dataOf(plot);
    const words = names.map((name, series) => found[2][series] && (names.length > 1 ? `${name} ${found[2][series]}` : found[2][series]));
    plot.querySelector("[data-chart-said]").textContent =
      `${when.format(new Date(found[0] * 1000))}: ${words.filter(Boolean).join(", ") || "nothing known"}`;
  }

  addEventListener("keydown", (event) => {
    const plot = event.target;
    if (!plot.classList?.contains("chart-plot")) return;
    if (event.key === "Escape") return leave(plot);
    const { points } = dataOf(plot), move = keys[event.key];
    if (move === undefined || !points.length || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const now = plot.cursorAt == null ? points.length : nearest(points, plot.cursorAt);
    const next = Math.min(points.length - 1, Math.max(0, now + (event.shiftKey ? move * 12 : move)));
    say(plot, point(plot, points[next][0]));
  });
  addEventListener("focusout", (event) => { if (event.target.classList?.contains("chart-plot")) leave(event.target); });

  // ---- what the server adds or changes ----

  const each = (node, css, act) => {
    if (node.matches(css)) act(node);
    for (const found of node.querySelectorAll(css)) act(found);
  };
  const fill = (node) => {
    each(node, "time[data-local]", fillTime);
    each(node, "[data-times]", fillAxis);
  };

  new MutationObserver((records) => {
    for (const { type, target, attributeName, addedNodes } of records) {
      if (type === "childList") {
        for (const node of addedNodes) if (node.nodeType === Node.ELEMENT_NODE) fill(node);
      } else if (attributeName === "data-chart") {
        if (target.cursorAt != null) point(target, target.cursorAt);
      } else if (attributeName === "data-times") {
        fillAxis(target);
      } else if (target.dataset.local) {
        fillTime(target);
      }
    }
  }).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["datetime", "data-times", "data-chart"] });

  let resizing;
  addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => each(document.body, "[data-times]", fillAxis), 150);
  });
})();
