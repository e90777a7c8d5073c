// While a knob moves, the figures beside it are asked for again and put in place; all else on the page stays. Without this the form's button does it.
// One request is under way at a time, and the latest state of the knobs is asked for after it: a slider that is dragged redraws as it goes.

const knobs = document.getElementById("knobs");
const figures = document.getElementById("figures");
const said = document.getElementById("said");
let underWay = null;
let waiting = false;

function state() {
  return new URLSearchParams(Array.from(new FormData(knobs)).filter(([, value]) => value !== ""));
}

function tell(slider) {
  const value = "powers" in slider.dataset ? Math.round(2 ** slider.valueAsNumber) : slider.valueAsNumber;
  slider.setAttribute("aria-valuetext", value);
  document.querySelector(`output[for="${slider.id}"]`).value = value;
}

function place(html) {
  const open = Array.from(figures.querySelectorAll("details[open]"), (part) => part.id);
  figures.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
  for (const part of figures.querySelectorAll("details")) part.open = open.includes(part.id);
  said.textContent = figures.querySelector("[data-said]")?.dataset.said ?? "";
}

function painted(mark) {
  requestAnimationFrame(() => setTimeout(() => performance.measure("redraw", { start: mark, end: performance.now() })));
}

async function redraw() {
  if (underWay) {
    waiting = true;
    return;
  }
  const started = performance.now();
  const asked = state();
  underWay = new AbortController();
  try {
    const answer = await fetch(`lab/figures?${asked}`, { signal: underWay.signal });
    place(await answer.text());
    history.replaceState(null, "", `lab?${asked}`);
    painted(started);
  } catch (error) {
    if (error.name !== "AbortError") said.textContent = "The daemon does not answer. Run modelsmith open, and open the address that it prints.";
  }
  underWay = null;
  if (waiting) {
    waiting = false;
    redraw();
  }
}

knobs.addEventListener("input", (event) => {
  if (event.target.type === "range") tell(event.target);
  redraw();
});
addEventListener("pagehide", () => underWay?.abort());
