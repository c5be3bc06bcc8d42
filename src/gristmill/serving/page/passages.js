// Passages of pages that an answer quotes, as the server finds them.

import { request } from "./api.js";
import { make } from "./elements.js";

const EARLIER = 4; // questions before the last that it may take up

/** The passages that belong to the last question of a conversation. */
export async function find(messages) {
  const asked = messages.filter(one => one.role === "user").slice(-1 - EARLIER).map(one => ["question", one.content]);
  return (await request("/v1/passages?" + new URLSearchParams(asked))).json();
}

/** A link where an address is one of the web, else its text. */
export function place(address) {
  const web = /^https?:/.test(address);
  const about = web ? { href: address, target: "_blank", rel: "noopener noreferrer nofollow" } : {};
  return make(web ? "a" : "span", about, address);
}

/** Passages as elements, below what put them in order; the first is open, unless the answer quotes it already. */
export function passages(found, quoted = false) {
  const by = found[0]?.ranked_by; // which a conversation of an older version does not have
  const order = by ? [make("p", { className: "ranked" }, `Passages, ranked by ${by}`)] : [];
  return [...order, ...found.map((one, place) => passage(one, place + 1, !place && !quoted))];
}

/** A passage with its number, page and headings; the question's words in it are marked. */
function passage(found, number, open) {
  const body = make("p"), letters = [...found.text]; // places are counted in characters
  let end = 0;
  for (const [from, to] of found.marks) {
    body.append(letters.slice(end, from).join(""), make("mark", {}, letters.slice(from, to).join("")));
    end = to;
  }
  body.append(letters.slice(end).join(""));
  const named = [...new Set([found.title, ...found.headings])].filter(Boolean).join(" › ") || found.source || found.url;
  const head = make("summary", {}, `[${number}] ${named}`);
  return make("details", { className: "passage", open }, head, place(found.url ?? found.source), body);
}
