// The matrix: cross-hair with the figures behind a cell, arrow keys, and choices without a reload.

const view = document.getElementById("view");
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
tip.hidden = true;
document.body.append(tip);

let marked = [];

function clear() {
  for (const cell of marked) cell.classList.remove("x", "xr", "xc");
  marked = [];
  tip.hidden = true;
}

function mark(cell, name) {
  cell.classList.add(name);
  marked.push(cell);
}

function headers(td) {
  const column = [...td.closest("table").tHead.rows].at(-1).cells[td.cellIndex];
  return { row: td.parentElement.cells[0], column };
}

function line(parent, name, text) {
  const p = document.createElement("p");
  p.className = name;
  p.textContent = text;
  parent.append(p);
}

function point(td) {
  clear();
  const { row, column } = headers(td);
  for (const body of td.closest("table").tBodies)
    for (const other of body.rows) mark(other.cells[td.cellIndex], "xc");
  for (const other of td.parentElement.cells) mark(other, "xr");
  mark(row, "x");
  mark(column, "x");

  const link = td.firstElementChild;
  // The title becomes the tip; left in place, the browser would show it a second time.
  if (link.title) {
    link.dataset.said = link.title;
    link.setAttribute("aria-label", `${link.textContent}: ${link.title}`);
    link.removeAttribute("title");
  }
  const name = (th) => th.querySelector("span").firstChild.textContent.trim();
  const code = (th) => th.querySelector("code").textContent;
  tip.replaceChildren();
  line(tip, "pair", `${name(row)} → ${name(column)}`);
  line(tip, "codes", `${code(row)} → ${code(column)}`);
  const [figure, ...rest] = link.dataset.said.split(" · ");
  line(tip, "figure", figure);
  for (const part of rest) line(tip, "part", part);
  if (td.classList.contains("stale")) line(tip, "warn", "stale: no new sample for too long");
  tip.hidden = false;
  const at = td.getBoundingClientRect();
  const right = at.right + 10 + tip.offsetWidth < innerWidth;
  const below = at.bottom + 10 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(4, right ? at.right + 10 : at.left - 10 - tip.offsetWidth)}px`;
  tip.style.top = `${Math.max(4, below ? at.bottom + 10 : at.top - 10 - tip.offsetHeight)}px`;
}

const cellOf = (event) => event.target.closest?.(".matrix tbody td");

view.addEventListener("pointerover", (event) => {
  const td = cellOf(event);
  if (td) point(td);
  else clear();
});
view.addEventListener("pointerleave", clear);
view.addEventListener("focusin", (event) => {
  const td = cellOf(event);
  if (td && event.target.matches(":focus-visible")) point(td);
});
view.addEventListener("focusout", clear);

// One stop for the Tab key in the matrix; the arrow keys move within it.
function rove() {
  const links = view.querySelectorAll(".matrix tbody td a");
  for (const link of links) link.tabIndex = -1;
  if (links.length) links[0].tabIndex = 0;
}

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
view.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return clear();
  const td = cellOf(event);
  if (!td || !(event.key in STEPS) || event.altKey || event.ctrlKey || event.metaKey) return;
  const rows = [...td.closest("table").tBodies].flatMap((body) => [...body.rows]);
  const [down, across] = STEPS[event.key];
  const row = rows[rows.indexOf(td.parentElement) + down];
  const next = row?.cells[td.cellIndex + across];
  if (next?.tagName !== "TD") return;
  event.preventDefault();
  td.firstElementChild.tabIndex = -1;
  next.firstElementChild.tabIndex = 0;
  next.firstElementChild.focus();
  point(next);
});
rove();

// The form's choices: the same page from the server, only the part that changes is put in place.
const form = document.querySelector("form[data-live]");
form.querySelector("button").hidden = true;
let timer = 0;
let asked = 0;

async function show() {
  const chosen = new URLSearchParams();
  for (const field of form.elements)
    if (field.name && field.value && !(field.tagName === "SELECT" && field.selectedIndex === 0))
      chosen.set(field.name, field.value);
  const query = chosen.toString();
  const address = form.getAttribute("action") + (query ? `?${query}` : "");
  const mine = ++asked;
  const answer = await fetch(address);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (mine !== asked) return;
  history.replaceState(null, "", address);
  const said = page.getElementById("view") ?? page.getElementById("main");
  clear();
  view.replaceChildren(...said.childNodes);
  const pickers = page.querySelector(".pickers");
  if (pickers) document.querySelector(".pickers").replaceChildren(...pickers.childNodes);
  const progress = page.querySelector(".progress");
  document.querySelector(".progress")?.replaceWith(...(progress ? [progress] : []));
  rove();
}

// Figures change while the page is open; while they come up, sooner.
function showAgain() {
  const wait_ms = document.querySelector(".progress") ? 5000 : 30000;
  setTimeout(() => {
    if (!document.hidden && tip.hidden && !form.contains(document.activeElement)) show();
    showAgain();
  }, wait_ms);
}
showAgain();


form.addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(show, 200);
});
