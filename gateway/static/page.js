// Keeps a page up to date. The server renders every state: this script hears that something changed, fetches the page
// again and puts the regions marked data-live in place, so what is shown has one source and one language.
"use strict";

const EVENTS = document.body.dataset.events;
const AT_MOST_EVERY_MS = 1000;
const AT_LEAST_EVERY_MS = 60_000;

const link = document.getElementById("link");
const announce = document.getElementById("announce");
const fromServer = new Map(); // id of a keyed child -> its markup as the server last sent it

function remember(child) {
  fromServer.set(child.id, child.outerHTML);
}

function written(field) {
  return field.tagName === "SELECT" ? field.selectedIndex > 0 : field.value !== field.defaultValue;
}

function inUse(element) {
  if (element.querySelector(".refused")) return true;
  const fields = [...element.querySelectorAll("details input:not([type=hidden]), select, textarea")];
  return fields.some((field) => field === document.activeElement || written(field));
}

function placeKeyed(region, fresh) {
  const known = new Map([...region.children].map((child) => [child.id, child]));
  [...fresh.children].forEach((child, position) => {
    const markup = child.outerHTML;
    let shown = known.get(child.id) ?? document.getElementById(child.id) ?? undefined; // it may come from another region
    known.delete(child.id);
    if (shown === undefined) {
      shown = document.importNode(child, true);
      if (!fromServer.has(child.id)) {
        shown.classList.add("arrived");
        announce.textContent = shown.dataset.announce ?? "";
      }
    } else if (fromServer.get(child.id) !== markup) {
      if (inUse(shown)) {
        // Somebody writes in it: renew what it says and leave the form alone.
        for (const part of [".because", ".facts"]) {
          shown.querySelector(part).replaceWith(document.importNode(child.querySelector(part), true));
        }
      } else {
        const renewed = document.importNode(child, true);
        const open = [...shown.querySelectorAll("details")].map((details) => details.open);
        shown.replaceWith(renewed);
        renewed.querySelectorAll("details").forEach((details, i) => { details.open = open[i] ?? false; });
        shown = renewed;
      }
    }
    fromServer.set(child.id, markup);
    if (region.children[position] !== shown) region.insertBefore(shown, region.children[position] ?? null);
  });
  known.forEach((gone) => { if (!inUse(gone)) gone.remove(); }); // what somebody writes is not lost
}

// A card on which somebody writes stays, and says so, when the alert has left the page.
function markGone(fresh) {
  for (const card of document.querySelectorAll("[data-keyed] > [data-gone]")) {
    const gone = fresh.getElementById(card.id) === null;
    let said = card.querySelector(".gone");
    if (gone && !said) {
      said = document.createElement("p");
      said.className = "warning gone";
      said.textContent = announce.textContent = card.dataset.gone;
      card.append(said);
    } else if (!gone && said) said.remove();
  }
}

function place(region, fresh) {
  if ("keyed" in region.dataset) placeKeyed(region, fresh);
  else if (region.innerHTML !== fresh.innerHTML) region.innerHTML = fresh.innerHTML;
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (answer.redirected) location.reload(); // the session has ended: the browser asks to sign in
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.title = fresh.title;
  document.querySelectorAll("[data-live]").forEach((region) => {
    const found = fresh.getElementById(region.id);
    if (found) place(region, found);
  });
  markGone(fresh);
  await Promise.all([...document.querySelectorAll("[data-figure]")].map(draw));
}

let waiting = false;
let running = false;

async function refreshSoon() {
  if (waiting) return;
  waiting = true;
  if (running) return;
  running = true;
  while (waiting) {
    waiting = false;
    try {
      await refresh();
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // TypeError: the network is away; the event source says so
    }
    await new Promise((resolve) => setTimeout(resolve, AT_MOST_EVERY_MS));
  }
  running = false;
}

function showLink(alive) {
  if (!link || (alive ? link.className === "alive" : link.className === "lost")) return;
  link.hidden = false;
  link.className = alive ? "alive" : "lost";
  const time = new Date().toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit" });
  link.textContent = alive ? link.dataset.liveWords : link.dataset.lostWords.replace("{time}", time);
}

async function draw(element) {
  const answer = await fetch(element.dataset.figure);
  if (!answer.ok) return;
  const figure = await answer.json();
  const phone = element.clientWidth < 560;
  if (phone) Object.assign(figure.layout.font, { size: 12 });
  await Plotly.react(element, figure.data, figure.layout, { displayModeBar: false, responsive: true });
}

// A form that was refused is answered at its own address, where the page cannot be asked for again.
if (document.body.dataset.page) history.replaceState(null, "", document.body.dataset.page);
document.querySelectorAll("[data-keyed] > [id]").forEach(remember);
document.querySelectorAll("[data-figure]").forEach(draw);
// A choice among many says more of the one that is chosen.
for (const choice of document.querySelectorAll("select[data-says]")) {
  const show = () => {
    document.querySelector(choice.dataset.says).textContent = choice.selectedOptions[0].dataset.says;
  };
  choice.addEventListener("change", show);
  show();
}
if (EVENTS) {
  const source = new EventSource(EVENTS);
  source.onopen = () => { showLink(true); refreshSoon(); };
  source.onerror = () => showLink(false);
  for (const type of ["alert", "reading", "follow-up", "health", "resync"]) source.addEventListener(type, refreshSoon);
  setInterval(refreshSoon, AT_LEAST_EVERY_MS);
}
