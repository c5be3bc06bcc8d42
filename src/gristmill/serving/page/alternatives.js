// An answer's tokens, and what else the model might have said in the place of each.

import { request } from "./api.js";
import { at, make } from "./elements.js";
import { plain } from "./store.js";

const SHOWN = 5;

/** The answer's tokens as an element, each with its alternatives under the pointer or the focus. The server makes the
 * answer again, with what it was drawn with, and tells the probabilities; throws where it says something else now. */
export async function alternatives(message, history) {
  const { system, ...params } = message.params ?? {}, { facts = [], quotes = [] } = message.memory ?? {};
  const json = { ...params, messages: plain(history, system), logprobs: true, top_logprobs: SHOWN };
  if (facts.length || quotes.length) json.memory = true;
  const { choices } = await (await request("/v1/chat/completions", { json })).json();
  if (!choices[0].message.content.startsWith(message.content)) {
    throw new Error("the model says something else now, so that what else it might have said is not known");
  }
  const box = make("div", { className: "tokens" });
  let left = new TextEncoder().encode(message.content).length;
  for (const entry of choices[0].logprobs.content) {
    if (left <= 0) break;
    left -= entry.bytes?.length ?? 0;
    box.append(token(entry));
  }
  if (box.firstChild) box.firstChild.tabIndex = 0;
  box.addEventListener("keydown", event => {
    const next = { ArrowRight: "nextSibling", ArrowLeft: "previousSibling" }[event.key];
    const to = next && event.target[next];
    if (to) { event.preventDefault(); event.target.tabIndex = -1; to.tabIndex = 0; to.focus(); }
  });
  return box;
}

function token(entry) {
  const share = Math.exp(entry.logprob), level = [0.9, 0.5, 0.2, 0.05].filter(least => share < least).length;
  const made = make("span", { className: `token sure${level}`, tabIndex: -1 }, seen(entry).replaceAll("↵", "↵\n"));
  for (const kind of ["pointerenter", "focus", "click"]) made.addEventListener(kind, () => show(made, entry));
  for (const kind of ["pointerleave", "blur"]) made.addEventListener(kind, () => hide(made));
  return made;
}

/** A token as text; bytes that are no whole character are named. */
function seen(entry) {
  return entry.token.replace(/^bytes:/, "").replaceAll("\n", "↵");
}

function show(place, entry) {
  const others = entry.top_logprobs.some(one => one.token === entry.token) ? [] : [entry];
  const line = one => make("li", { className: one.token === entry.token ? "said" : "" },
    make("code", {}, seen(one).replaceAll(" ", "␣")), make("span", {}, percent(one.logprob)));
  const tip = at("tip"), spot = place.getClientRects()[0] ?? place.getBoundingClientRect();
  tip.replaceChildren(make("ol", {}, ...[...entry.top_logprobs, ...others].map(line)));
  tip.hidden = false;
  place.setAttribute("aria-describedby", "tip");
  const below = spot.bottom + tip.offsetHeight + 8 < innerHeight;
  tip.style.left = `${Math.max(8, Math.min(spot.left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${below ? spot.bottom + 4 : spot.top - tip.offsetHeight - 4}px`;
}

function hide(place) {
  at("tip").hidden = true;
  place.removeAttribute("aria-describedby");
}

function percent(logprob) {
  const share = 100 * Math.exp(logprob);
  return share < 0.1 ? "< 0.1 %" : `${share.toFixed(1)} %`;
}
