// What every page does: times as "3 min ago", and figures that renew themselves in place.

function ago(then) {
  const s = Math.round((Date.now() - then) / 1000);
  if (s < 0 || s > 172800) return null;
  if (s < 90) return `${s} s ago`;
  return s < 5400 ? `${Math.round(s / 60)} min ago` : `${Math.round(s / 3600)} h ago`;
}

// The exact UTC time stays in the title.
function tellAges() {
  for (const time of document.querySelectorAll("time.ago")) {
    const text = ago(Date.parse(time.dateTime));
    if (!text) continue;
    time.title ||= time.textContent;
    time.textContent = text;
  }
}

tellAges();
setInterval(tellAges, 5000);

const HERE = new Set(["tabindex", "style", "data-said", "hidden", "open", "aria-invalid", "aria-describedby"]);

// Makes `old` what `fresh` is and touches only what differs, so that focus, scroll position and
// typed text stay. What scripts alone set (HERE) stays too, and all of an element with data-own.
function patch(old, fresh) {
  if (old.nodeType !== 1 || old.nodeName !== fresh.nodeName) {
    if (!old.isEqualNode(fresh)) old.replaceWith(fresh);
    return;
  }
  if (old.dataset.own !== undefined) return;
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name) && !HERE.has(name)) old.removeAttribute(name);
  const [a, b] = [[...old.childNodes], [...fresh.childNodes]];
  b.forEach((child, i) => (a[i] ? patch(a[i], child) : old.append(child)));
  for (const extra of a.slice(b.length)) extra.remove();
}

// One line at the foot of the window, over the page: it moves nothing.
const notice = document.createElement("p");
notice.className = "notice";
notice.setAttribute("role", "status");
notice.hidden = true;
document.body.append(notice);

function say(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

const REFUSED = {
  429: "too many requests came from your network",
  503: "the site is busy or starting",
};
const UNREACHED = {
  TypeError: "the site cannot be reached",
  TimeoutError: "the site does not answer",
};
const main = document.getElementById("main");
let asked = 0;
let shown = Date.now();

// Puts the page at an address into this one. The server is asked in any case, since the browser's own
// copy may be old. On failure the last good page stays, with a line.
async function show(address) {
  const mine = ++asked;
  let wait_ms = 0;
  try {
    const answer = await fetch(address, { cache: "no-cache", signal: AbortSignal.timeout(15000) });
    wait_ms = 1000 * (Number(answer.headers.get("Retry-After")) || 0);
    const text = await answer.text();
    if (mine !== asked) return { isShown: false, wait_ms };
    const page = new DOMParser().parseFromString(text, "text/html");
    const fresh = page.querySelector("main[data-live]");
    if (!answer.ok || !fresh)
      throw new Error(REFUSED[answer.status] ?? page.querySelector("main p")?.textContent ?? `the server answered ${answer.status}`);
    document.dispatchEvent(new Event("showing"));
    const held = document.activeElement?.getAttribute("href");
    patch(document.querySelector("header"), page.querySelector("header"));
    patch(main, fresh);
    document.title = page.title;
    if (held && document.activeElement?.getAttribute("href") !== held)
      main.querySelector(`a[href="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
    tellAges();
    shown = Date.now();
    say("");
    document.dispatchEvent(new Event("shown"));
    return { isShown: true, wait_ms };
  } catch (error) {
    if (mine === asked) {
      const why = UNREACHED[error.name] ?? error.message.replace(/\.$/, "");
      const at = new Date(shown).toISOString().slice(11, 19);
      say(`Not renewed: ${why}. What you see was loaded at ${at} UTC.`);
    }
    return { isShown: false, wait_ms };
  }
}

if (main.dataset.live !== undefined) {
  const renew = () => show(location.pathname + location.search);
  let timer = 0;
  const later = (wait_ms) => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const result = document.hidden ? { wait_ms: 0 } : await renew();
      // Sooner while the figures come up; not before a refusal says.
      later(Math.max(document.querySelector(".progress") ? 5000 : 30000, result.wait_ms));
    }, wait_ms);
  };
  later(document.querySelector(".progress") ? 5000 : 30000);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && Date.now() - shown > 30000) renew();
  });
  addEventListener("online", renew);

  // Choices take turns: the next one goes out from the page that the one before has led to.
  let turn = Promise.resolve();
  const inTurn = (choice) => (turn = turn.then(choice));

  // A picker's answer without a reload; the way back leads to the choice before.
  main.addEventListener("click", (event) => {
    const link = event.target.closest?.(".picker a");
    if (!link || event.button || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    inTurn(async () => {
      const address = link.getAttribute("href");
      if ((await show(address)).isShown) history.pushState(null, "", address);
    });
  });
  addEventListener("popstate", () => inTurn(async () => {
    if ((await renew()).isShown) for (const form of main.querySelectorAll("form")) form.reset();
  }));

  // A form's choices, as soon as they are made.
  const form = main.querySelector("form[data-live]");
  if (form) {
    form.querySelector("button").hidden = true;
    const wrong = document.createElement("span");
    wrong.className = "wrong";
    wrong.id = "wrong";
    wrong.setAttribute("role", "alert");
    wrong.hidden = true;

    // Says at the field what is wrong with it; true when all are usable.
    const check = () => {
      const field = [...form.elements].find((one) => one.validity && !one.validity.valid);
      for (const one of form.querySelectorAll("[aria-invalid]")) {
        one.removeAttribute("aria-invalid");
        one.removeAttribute("aria-describedby");
      }
      wrong.hidden = !field;
      wrong.textContent = field ? field.title : "";
      if (field) {
        field.setAttribute("aria-invalid", "true");
        field.setAttribute("aria-describedby", "wrong");
        document.body.append(wrong);
        const at = field.getBoundingClientRect();
        wrong.style.left = `${Math.max(8, Math.min(at.left + scrollX, innerWidth - wrong.offsetWidth - 8))}px`;
        wrong.style.top = `${at.bottom + scrollY + 4}px`;
      }
      return !field;
    };
    const choose = async () => {
      if (!check()) return;
      const chosen = new URLSearchParams();
      for (const field of form.elements)
        if (field.name && field.value && !(field.tagName === "SELECT" && field.selectedIndex === 0))
          chosen.set(field.name, field.inputMode === "decimal" ? String(parseFloat(field.value.replace(",", "."))) : field.value);
      const query = chosen.toString();
      const address = form.getAttribute("action") + (query ? `?${query}` : "");
      if ((await show(address)).isShown) history.replaceState(null, "", address);
    };
    let typed = 0;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      inTurn(choose);
    });
    form.addEventListener("input", () => {
      clearTimeout(typed);
      typed = setTimeout(() => inTurn(choose), 200);
    });
    form.noValidate = true;
  }
}
