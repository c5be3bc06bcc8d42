// The list of conversations: open, search, rename, export, delete.

import { chat, fail, open } from "./chat.js";
import { at, button, download, make } from "./elements.js";
import { asJsonLines, asMarkdown } from "./store.js";

const JSON_LINES = "application/jsonl";
const list = at("list"), menu = at("menu");
let asked = 0;

/** Show the conversations that hold the words looked for. */
export async function showList() {
  const mine = ++asked, words = at("search").value;
  const found = await chat.store.list(words).catch(fail);
  // it was asked again; a name is being changed, or something chosen
  if (!found || mine !== asked || list.querySelector("input") || menu.matches(":popover-open")) return;
  const seen = JSON.stringify([chat.conversation.id, found.map(one => [one.id, one.title, one.excerpt])]);
  if (seen !== list.dataset.seen) { // else what has the focus would lose it
    list.dataset.seen = seen;
    list.replaceChildren(...found.map(entry));
  }
  at("none").hidden = found.length > 0;
  at("none").textContent = words ? "None holds these words." : "None yet.";
}

function entry(one) {
  const here = one.id === chat.conversation.id;
  const opens = button(one.title, async () => {
    if (one.id !== chat.conversation.id) await use(one, open); // which may be another than when this was drawn
    drawer(false);
  }, { className: "open", title: one.title });
  if (here) opens.ariaCurrent = "true";
  const more = button("⋯", () => options(one, more), { ariaLabel: `Options of ${one.title}`, ariaHasPopup: "true" });
  if (one.excerpt) opens.append(make("span", { className: "quiet" }, one.excerpt));
  const item = make("li", {}, opens, more);
  item.dataset.id = one.id;
  return item;
}

/** Do something with a conversation as it is kept, or say why it cannot be read. */
async function use(one, work) {
  try {
    await work(await chat.store.read(one.id));
  } catch (error) {
    showList();
    fail(error);
  }
}

function options(one, place) {
  const then = work => () => { menu.hidePopover(); return use(one, work); };
  const remove = button("Delete", () => {
    remove.replaceWith(button("Delete for good", then(forget)));
    menu.lastChild.focus();
  });
  menu.replaceChildren(
    button("Rename", then(() => rename(one))),
    button("Export as JSON lines", then(kept => download(name(kept, "jsonl"), asJsonLines([kept]), JSON_LINES))),
    button("Export as Markdown", then(kept => download(name(kept, "md"), asMarkdown([kept]), "text/markdown"))),
    remove,
  );
  menu.showPopover();
  const spot = place.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(spot.left, innerWidth - menu.offsetWidth - 8))}px`;
  menu.style.top = `${Math.min(spot.bottom, innerHeight - menu.offsetHeight - 8)}px`;
  menu.firstChild.focus();
}

/** The name of a file for a conversation. */
function name({ title }, kind) {
  return `${title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "conversation"}.${kind}`;
}

function rename(one) {
  const field = make("input", { value: one.title, ariaLabel: "Name of the conversation", maxLength: 200 });
  let done = false;
  const end = async (keep, back = true) => {
    if (done) return;
    done = true;
    field.remove();
    const title = field.value.trim(), here = chat.conversation.id === one.id;
    if (keep && title) await use(one, kept => chat.store.write(Object.assign(kept, { title })));
    if (keep && title && here) chat.conversation.title = title;
    await showList();
    if (back) list.querySelector(`[data-id="${one.id}"] .open`)?.focus();
  };
  delete list.dataset.seen;
  field.addEventListener("keydown", event => {
    if (event.key === "Enter") end(true);
    if (event.key === "Escape") { event.stopPropagation(); end(false); }
  });
  field.addEventListener("blur", () => end(true, false));
  list.querySelector(`[data-id="${one.id}"]`)?.replaceChildren(field);
  field.select();
}

async function forget(one) {
  await chat.store.remove(one.id).catch(fail);
  if (chat.conversation.id === one.id) open();
  showList();
  at("new").focus();
}

/** On narrow screens the list comes and goes. */
function drawer(shown) {
  document.body.classList.toggle("listed", shown);
  at("side-open").ariaExpanded = String(shown);
  (shown ? at("new") : at("text")).focus();
}

/** Let the list be used. */
export function prepareList() {
  at("search").addEventListener("input", showList);
  at("side-open").addEventListener("click", () => drawer(true));
  at("side-close").addEventListener("click", () => drawer(false));
  at("new").addEventListener("click", () => drawer(false));
  at("desk").addEventListener("click", event => {
    if (document.body.classList.contains("listed") && !at("side-open").contains(event.target)) drawer(false);
  });
  at("side").addEventListener("keydown", event => {
    if (event.key === "Escape" && document.body.classList.contains("listed")) drawer(false);
  });
  at("export-jsonl").addEventListener("click", async () => {
    const all = await chat.store.exported().catch(fail);
    if (all !== undefined) download("conversations.jsonl", all, JSON_LINES);
  });
  menu.addEventListener("toggle", showList);
  addEventListener("focus", showList); // another tab may have changed it
}
