// How answers are drawn and how the page looks: kept in this browser.

import { at } from "./elements.js";

const DEFAULTS = { temperature: 0, top_p: 1, max_tokens: 512, seed: "", system: "", look: "" };
const NAMES = Object.keys(DEFAULTS);

function kept() {
  try { return JSON.parse(localStorage.getItem("settings")) ?? {}; } catch { return {}; }
}

export const settings = { ...DEFAULTS, memory: true, ...kept() };

/** Change one, and keep it. */
export function set(name, value) {
  settings[name] = value;
  try { localStorage.setItem("settings", JSON.stringify(settings)); } catch { /* for this page only */ }
}

/** What the next answer is drawn with; a seed that nobody chose is drawn now, so that the answer can be made again. */
export function drawn() {
  const { temperature, top_p, max_tokens, seed, system } = settings;
  const number = seed === "" ? Math.floor(Math.random() * 2 ** 31) : seed;
  return { temperature, top_p, max_tokens, system: system.trim(), seed: number };
}

function apply() {
  document.documentElement.dataset.look = settings.look;
  for (const name of NAMES) at(name).value = settings[name];
}

function changed(name) {
  const field = at(name), number = typeof DEFAULTS[name] === "number" || name === "seed";
  const unset = number && field.value === "";
  field.setCustomValidity("");
  if (!field.checkValidity()) return field.reportValidity();
  set(name, unset ? DEFAULTS[name] : number ? Number(field.value) : field.value);
  apply();
}

/** Let the dialog change them. */
export function prepare() {
  apply();
  for (const name of NAMES) at(name).addEventListener("change", () => changed(name));
  at("settings-open").addEventListener("click", () => at("settings").showModal());
  at("settings-close").addEventListener("click", () => at("settings").close());
  at("defaults").addEventListener("click", () => {
    for (const name of NAMES) { at(name).value = DEFAULTS[name]; changed(name); }
  });
  at("settings").addEventListener("submit", event => { event.preventDefault(); at("settings").close(); });
}
