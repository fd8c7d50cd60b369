"use strict";
(() => {
  const root = document.documentElement;
  const cells = new Map([...document.querySelectorAll(".cell")].map((cell) => [cell.dataset.at, cell]));
  const first = cells.keys().next().value;
  const compare = document.getElementById("compare");
  const sizeInput = document.getElementById("cell-size");
  const zoomInput = document.getElementById("zoom");
  const splitInput = document.getElementById("split");
  const view = { zoom: 1, dx: 0, dy: 0 };
  const chosen = { a: null, b: null };
  let focused = first;
  let marked = null;

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const point = (at) => at.split(",").map(Number);

  // The part that all images show: zoom, and the shift of the image in percent of its own size.
  function show(zoom, dx, dy) {
    view.zoom = clamp(zoom, 1, 16);
    const most = 50 * (1 - 1 / view.zoom);
    view.dx = clamp(dx, -most, most);
    view.dy = clamp(dy, -most, most);
    root.style.setProperty("--zoom", view.zoom);
    root.style.setProperty("--dx", view.dx);
    root.style.setProperty("--dy", view.dy);
    root.classList.toggle("zoomed", view.zoom > 1);
    zoomInput.value = view.zoom;
  }

  // Zoom so that what is under the pointer stays there.
  function zoomAt(box, event, factor) {
    const px = (100 * (event.clientX - box.left)) / box.width - 50;
    const py = (100 * (event.clientY - box.top)) / box.height - 50;
    const zoom = clamp(view.zoom * factor, 1, 16);
    show(zoom, view.dx + px / zoom - px / view.zoom, view.dy + py / zoom - py / view.zoom);
  }

  function choose(at, scroll = true) {
    if (!cells.has(at)) return false;
    cells.get(focused).tabIndex = -1;
    focused = at;
    const cell = cells.get(at);
    cell.tabIndex = 0;
    cell.focus({ preventScroll: true });
    if (scroll) cell.scrollIntoView({ block: "nearest", inline: "nearest" });
    return true;
  }

  function mark(at) {
    if (marked) cells.get(marked).classList.remove("marked");
    marked = marked === at ? null : at;
    if (marked) cells.get(marked).classList.add("marked");
  }

  const step = (at, x, y, z) => {
    const [i, j, k] = point(at);
    return [i + x, j + y, k + z].join(",");
  };

  function edge(at, last) {
    const [, j, k] = point(at);
    const row = [...cells.keys()].filter((key) => key.endsWith(`,${j},${k}`));
    return last ? row[row.length - 1] : row[0];
  }

  // What to compare a cell with if none is marked: its neighbor on the first axis that has one.
  function neighbor(at) {
    const steps = [[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]];
    return steps.map((s) => step(at, ...s)).find((key) => cells.has(key)) ?? at;
  }

  function showSide(side, at) {
    if (!cells.has(at)) return;
    chosen[side] = at;
    const cell = cells.get(at);
    const image = cell.querySelector("img");
    const box = compare.querySelector(`.view[data-side=${side}]`);
    box.classList.toggle("failed", !image);
    box.querySelector("img").src = image ? image.src : "";
    box.querySelector("p").textContent = image ? "" : cell.querySelector(".failed p").textContent;
    const caption = cell.querySelector(".caption");
    const name = [cell.dataset.name, caption && caption.textContent].filter(Boolean).join(" · ");
    compare.querySelector(side === "a" ? ".name.left" : ".name.right").textContent = name;
    for (const select of compare.querySelectorAll(`select[data-side=${side}]`)) {
      select.value = point(at)[select.dataset.axis];
    }
    remember();
  }

  function split(value) {
    splitInput.value = clamp(value, 0, 100);
    compare.style.setProperty("--split", splitInput.value);
    remember();
  }

  function openCompare(a, b, at = 50) {
    if (!compare.open) compare.showModal();
    showSide("a", a);
    showSide("b", b);
    split(at);
    splitInput.focus();
  }

  // The address names the comparison, so that it can be opened again and linked to.
  function remember() {
    if (chosen.a && chosen.b && compare.open) {
      history.replaceState(null, "", `#compare=${chosen.a};${chosen.b};${splitInput.value}`);
    }
  }

  function fromAddress() {
    const found = /^#compare=(\d+,\d+,\d+);(\d+,\d+,\d+)(?:;([\d.]+))?$/.exec(decodeURIComponent(location.hash));
    if (found && cells.has(found[1]) && cells.has(found[2])) openCompare(found[1], found[2], Number(found[3] ?? 50));
    const cell = /^#cell=(\d+,\d+,\d+)$/.exec(decodeURIComponent(location.hash));
    if (cell) choose(cell[1]);
  }

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function zoomKey(event) {
    if (event.key === "+" || event.key === "=") show(view.zoom * 1.25, view.dx, view.dy);
    else if (event.key === "-") show(view.zoom / 1.25, view.dx, view.dy);
    else if (event.key === "0") show(1, 0, 0);
    else return false;
    return true;
  }

  function gridKey(event) {
    const arrow = ARROWS[event.key];
    if (arrow && event.shiftKey) show(view.zoom, view.dx - (10 * arrow[0]) / view.zoom, view.dy - (10 * arrow[1]) / view.zoom);
    else if (arrow) choose(step(focused, ...arrow, 0));
    else if (event.key === "PageUp") return choose(step(focused, 0, 0, -1));
    else if (event.key === "PageDown") return choose(step(focused, 0, 0, 1));
    else if (event.key === "Home") choose(edge(focused, false));
    else if (event.key === "End") choose(edge(focused, true));
    else if (event.key.toLowerCase() === "a") mark(focused);
    else if (event.key === "Enter") openCompare(marked ?? neighbor(focused), focused);
    else return zoomKey(event);
    return true;
  }

  function compareKey(event) {
    const arrow = ARROWS[event.key];
    if (arrow && event.shiftKey) showSide("b", step(chosen.b, ...arrow, 0));
    else if (arrow && arrow[0]) split(Number(splitInput.value) + 2 * arrow[0]);
    else if (event.key.toLowerCase() === "s") swap();
    else return zoomKey(event);
    return true;
  }

  function swap() {
    const { a, b } = chosen;
    showSide("a", b);
    showSide("b", a);
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const control = event.target.closest("select, button, summary, a, input:not(#split)");
    if (control) return;
    if (compare.open ? compareKey(event) : gridKey(event)) event.preventDefault();
  });

  document.addEventListener("wheel", (event) => {
    const box = event.target.closest(".stage") ?? (event.ctrlKey || event.metaKey ? event.target.closest(".view") : null);
    if (!box) return;
    event.preventDefault();
    zoomAt(box.getBoundingClientRect(), event, Math.exp(-event.deltaY / 300));
  }, { passive: false });

  // Dragging moves the part that is shown; in a comparison the divider moves where it is held.
  document.addEventListener("pointerdown", (event) => {
    const cell = event.target.closest(".cell");
    if (cell) choose(cell.dataset.at, false);
    const divider = event.target.closest(".divider");
    const box = event.target.closest(".stage, .view");
    if (event.button !== 0 || !box || (!divider && view.zoom === 1)) return;
    event.preventDefault();
    const area = box.closest(".stage") ?? box;
    const rect = area.getBoundingClientRect();
    let last = event;
    const move = (next) => {
      if (divider) split((100 * (next.clientX - rect.left)) / rect.width);
      else {
        const scale = 100 / view.zoom;
        show(
          view.zoom,
          view.dx + (scale * (next.clientX - last.clientX)) / rect.width,
          view.dy + (scale * (next.clientY - last.clientY)) / rect.height,
        );
      }
      last = next;
    };
    const end = () => {
      document.removeEventListener("pointermove", move);
      document.removeEventListener("pointerup", end);
      document.removeEventListener("pointercancel", end);
    };
    document.addEventListener("pointermove", move);
    document.addEventListener("pointerup", end);
    document.addEventListener("pointercancel", end);
  });

  document.addEventListener("dblclick", (event) => {
    const cell = event.target.closest(".cell");
    if (cell) openCompare(marked && marked !== cell.dataset.at ? marked : neighbor(cell.dataset.at), cell.dataset.at);
  });

  sizeInput.addEventListener("input", () => root.style.setProperty("--cell", `${sizeInput.value}px`));
  zoomInput.addEventListener("input", () => show(Number(zoomInput.value), view.dx, view.dy));
  splitInput.addEventListener("input", () => split(Number(splitInput.value)));
  document.getElementById("reset").addEventListener("click", () => show(1, 0, 0));
  document.getElementById("swap").addEventListener("click", swap);
  document.getElementById("close").addEventListener("click", () => compare.close());
  document.getElementById("open-compare").addEventListener("click", () => openCompare(marked ?? neighbor(focused), focused));
  compare.addEventListener("change", (event) => {
    const { side, axis } = event.target.dataset;
    if (!side) return;
    const at = point(chosen[side]);
    at[axis] = Number(event.target.value);
    showSide(side, at.join(","));
  });
  compare.addEventListener("close", () => {
    choose(chosen.b);
    chosen.a = chosen.b = null;
    history.replaceState(null, "", location.pathname + location.search);
  });
  window.addEventListener("hashchange", fromAddress);

  // At first the columns share the window's width, as far as images of that size can be seen.
  const columns = 1 + Math.max(...[...cells.keys()].map((at) => point(at)[0]));
  sizeInput.value = clamp((window.innerWidth - 210) / columns - 4, 96, 320);
  root.style.setProperty("--cell", `${sizeInput.value}px`);
  cells.get(first).tabIndex = 0;
  show(1, 0, 0);
  fromAddress();
})();
