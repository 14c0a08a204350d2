// What the pages do beyond links and forms. Without it all works but for what changes by itself.

const main = document.getElementById("main");
const said = document.getElementById("said");
const bell = document.getElementById("unread");

// The zone that times are shown in; the server reads it.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.includes(`mailwake_zone=${zone}`)) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `mailwake_zone=${zone}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
}

// A form is sent once.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-once]")) return;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "1";
  const button = form.querySelector("[data-busy]");
  if (button) { button.textContent = button.dataset.busy; button.setAttribute("aria-disabled", "true"); }
});
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();  // a page from the browser's memory may be somebody's who signed out
});

// Arrow keys (and j, k) go from mail to mail; / goes to the search; Escape closes what hover shows.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "Escape") {
    document.querySelectorAll(".sign:hover, .sign:focus-within").forEach((each) => {
      each.classList.add("shut");
      const open = () => { each.classList.remove("shut"); };
      each.addEventListener("mouseleave", open, { once: true });
      each.addEventListener("focusout", open, { once: true });
    });
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    const search = document.getElementById("q");
    if (search) { event.preventDefault(); search.focus(); search.select(); }
    return;
  }
  const way = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
  if (!way) return;
  const rows = [...document.querySelectorAll(".mails .row, .feed .row")];
  const here = document.activeElement.closest(".mail, .feed li");
  if (!rows.length || (!here && event.key.startsWith("Arrow"))) return;
  event.preventDefault();
  const place = here ? rows.findIndex((row) => here.contains(row)) + way : 0;
  rows[Math.max(0, Math.min(place, rows.length - 1))].focus();
});

// A mail that the bell told of is read when it is followed.
document.addEventListener("click", (event) => {
  const row = event.target.closest("[data-alert]");
  const token = document.querySelector("input[name=token]");
  if (!row || !token) return;
  const body = new URLSearchParams({ token: token.value, alert: row.dataset.alert });
  fetch("/bell/read", { method: "POST", body, keepalive: true, redirect: "manual" });
});

// What changes by itself: the parts marked data-live, rendered anew by the server.
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
let looking = null;
async function look() {
  if (!document.querySelector("[data-live]")) return false;
  looking ??= fetchPart().finally(() => { looking = null; });
  return looking;
}
async function fetchPart() {
  let answer;
  try {
    answer = await fetch(location.href, { headers: { "X-Part": "main" }, cache: "no-store" });
  } catch { return false; }
  if (answer.status === 401) { location.reload(); return false; }
  if (!answer.ok) return false;
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  let changed = false;
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = next.getElementById(part.id);
    if (fresh && merge(part, fresh)) changed = true;
  }
  return changed;
}

const source = new WeakMap();  // what the server said of an element, free of what scripts added
const text = (element) => source.get(element) ?? element.outerHTML;
document.querySelectorAll("[data-live], [data-live] [id]").forEach((each) => source.set(each, each.outerHTML));

// Takes over what is new. Only what changed is touched, so focus and hover stay where they are.
function merge(part, fresh) {
  if (text(part) === fresh.outerHTML) return false;
  const whole = fresh.outerHTML;
  const known = new Map([...part.querySelectorAll("li[id]")].map((each) => [each.id, each]));
  const focus = document.activeElement?.dataset?.key || document.activeElement?.closest?.("li[id]")?.id;
  const lists = part.querySelectorAll("ul, ol").length;
  const before = new Map([...part.querySelectorAll(".sign.on button")].map((each) => [each.dataset.key, true]));
  const had = known.size > 0 && lists > 0;
  for (const item of fresh.querySelectorAll("li[id]")) {
    const old = known.get(item.id);
    const same = old && text(old) === item.outerHTML;
    source.set(item, item.outerHTML);
    if (same) { old.classList.remove("fresh"); source.set(old, item.outerHTML); item.replaceWith(old); }
    else if (had) item.classList.add("fresh");
  }
  for (const button of fresh.querySelectorAll(".sign.on button")) {
    if (!before.has(button.dataset.key) && known.has(`m-${button.dataset.key.split("-")[1]}`)) {
      button.closest(".sign").classList.add("turned");
    }
  }
  part.replaceChildren(...fresh.childNodes);
  source.set(part, whole);
  if (focus) {
    const again = part.querySelector(`[data-key="${focus}"]`) || document.getElementById(focus)?.querySelector("a");
    if (again && document.activeElement !== again) again.focus({ preventScroll: true });
  }
  return true;
}

// After an alert, or a mail just sent, the tables follow within a second or two: so the page looks
// again and again for a while, less often once something has changed; another alert begins anew.
let pauses = [];
let hurrying = false;
async function hurry() {
  pauses = [150, 400, 700, 1000, 1500, 2500, 4000];
  if (hurrying) return;
  hurrying = true;
  while (pauses.length) {
    await wait(pauses.shift());
    if (await look()) pauses = pauses.slice(-2);
  }
  hurrying = false;
}

// The bell.
let stream = null;
let last = "";
function show(count) {
  bell.querySelector(".n").textContent = count;
  bell.hidden = !count;
  document.title = document.title.replace(/^\(\d+\) /, "").replace(/^/, count ? `(${count}) ` : "");
}
const rung = new Set();  // it rings once of an alert, however often it is told anew
function told(alert) {
  const does = alert.kind === "open" ? "A mail of yours was opened" : "A link in a mail of yours was followed";
  return does + (alert.returned ? " again" : "") + (alert.count > 1 ? ` ${alert.count} times` : "");
}
function ring(alert) {
  rung.add(alert.alert_id);
  bell.classList.remove("rings");
  requestAnimationFrame(() => bell.classList.add("rings"));
  const words = told(alert);
  said.textContent = "";
  said.textContent = words;
  const toast = document.createElement("a");
  toast.className = "toast";
  toast.dataset.alert = alert.alert_id;
  toast.href = `/mail/${alert.message_id}`;
  toast.tabIndex = -1;
  toast.textContent = words;
  const row = document.querySelector(`#m-${alert.message_id} .subject`);
  if (row) toast.textContent = `${words}: ${row.textContent}`;
  document.getElementById("toasts").append(toast);
  setTimeout(() => toast.remove(), 6000);
}
function listen() {
  if (!bell || stream || document.hidden) return;
  stream = new EventSource("/bell/stream" + (last ? `?last=${last}` : ""));
  const on = (name, does) => stream.addEventListener(name, (event) => {
    last = event.lastEventId || last;
    does(JSON.parse(event.data));
  });
  on("alert", (alert) => {
    if (alert.withdrawn) document.querySelector(`.toast[data-alert="${alert.alert_id}"]`)?.remove();
    else if (!alert.read && !alert.quiet && !rung.has(alert.alert_id)) ring(alert);
    hurry();
  });
  on("unread", ({ unread }) => show(unread));
  on("resync", hurry);
  stream.onerror = () => {
    if (stream.readyState !== EventSource.CLOSED) return;  // it comes back by itself
    stream = null;
    setTimeout(listen, 3000 + Math.random() * 3000);
  };
}
// A tab that nobody sees listens to nothing: a browser has few connections to a host.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { stream?.close(); stream = null; }
  else { listen(); look(); }
});
if (bell) {
  listen();
  if (new URLSearchParams(location.search).get("told") === "sent") hurry();
  setInterval(() => { if (!document.hidden) look(); }, 20000);
}
