// What a person would see as a fault of the page, one sentence each. Tests run it in the page.
({ smallest }) => {
  const faults = [];
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) faults.push(`the page is ${wide} px wide in a window of ${innerWidth} px: ${beyond()}`);
  const texts = pieces();
  for (const t of texts) if (t.size < smallest) faults.push(`text of ${t.size.toFixed(1)} px: ${t.text}`);
  for (const [a, b] of crossing(texts)) faults.push(`these overlap: ${a.text} / ${b.text}`);
  for (const t of texts) if (struck(t)) faults.push(`a line runs through: ${t.text}`);
  return [...new Set(faults)];

  // The elements that reach beyond the window and are in no part that scrolls by itself.
  function beyond() {
    const found = [...document.body.querySelectorAll("*")].filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5
      && !clips(e.parentElement).some((c) => c.right <= innerWidth + 0.5));
    return found.slice(-3).map((e) => e.tagName.toLowerCase() + (e.id ? "#" + e.id : "") + "." + e.getAttribute("class")).join(", ");
  }

  function clips(element) {
    const found = [];
    for (let e = element; e && e !== document.body; e = e.parentElement)
      if (getComputedStyle(e).overflowX !== "visible" && !(e instanceof SVGElement)) found.push(e.getBoundingClientRect());
    return found;
  }

  // Visible lines of text: where their letters are, without the space above and below them.
  function pieces() {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const parent = node.parentElement, text = node.data.trim().replace(/\s+/g, " ");
      if (!text || parent.closest("script, style, noscript, title, option")) continue;
      if (!parent.checkVisibility({ checkVisibilityCSS: true, checkOpacity: true })) continue;
      const style = getComputedStyle(parent), inside = parent instanceof SVGElement;
      const matrix = inside ? parent.getScreenCTM() : null;
      const size = parseFloat(style.fontSize) * (matrix ? Math.hypot(matrix.a, matrix.b) : 1);
      const range = document.createRange();
      range.selectNodeContents(node);
      for (const r of range.getClientRects()) {
        const box = { left: r.left, right: r.right, top: r.top + 0.22 * r.height, bottom: r.bottom - 0.22 * r.height };
        for (const c of clips(parent)) {
          box.left = Math.max(box.left, c.left); box.right = Math.min(box.right, c.right);
          box.top = Math.max(box.top, c.top); box.bottom = Math.min(box.bottom, c.bottom);
        }
        if (box.right - box.left > 1 && box.bottom - box.top > 1) found.push({ ...box, size, text: text.slice(0, 60), parent });
      }
    }
    return found;
  }

  function crossing(boxes) {
    const sorted = [...boxes].sort((a, b) => a.top - b.top), pairs = [];
    sorted.forEach((a, k) => {
      for (let m = k + 1; m < sorted.length && sorted[m].top < a.bottom - 1; m++) {
        const b = sorted[m];
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1) pairs.push([a, b]);
      }
    });
    return pairs;
  }

  // Whether a thin line of the same figure lies upon the letters, or under them without a ground between.
  function struck(t) {
    const svg = t.parent.ownerSVGElement;
    if (!svg || getComputedStyle(t.parent).paintOrder.startsWith("stroke")) return false;
    const after = (e) => Boolean(t.parent.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING);
    const crosses = (r, by) => Math.min(r.right, t.right - by) - Math.max(r.left, t.left + by) > -0.1
      && Math.min(r.bottom, t.bottom - by) - Math.max(r.top, t.top + by) > -0.1;
    const covers = (r) => r.left <= t.left && r.right >= t.right && r.top <= t.top && r.bottom >= t.bottom;
    const drawn = [...svg.querySelectorAll("line, path, use, polyline, rect")].filter((e) => e.checkVisibility());
    const ground = drawn.filter((e) => !after(e) && getComputedStyle(e).fill !== "none" && covers(e.getBoundingClientRect()));
    return drawn.some((e) => {
      const r = e.getBoundingClientRect(), style = getComputedStyle(e);
      const thin = Math.min(r.width, r.height) < 2.5 && Math.max(r.width, r.height) > 4 && style.stroke !== "none";
      const hidden = !after(e) && ground.some((g) => Boolean(e.compareDocumentPosition(g) & Node.DOCUMENT_POSITION_FOLLOWING));
      return thin && !hidden && crosses(r, 1);
    });
  }
};
