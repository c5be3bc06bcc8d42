// What the server remembers of a person: seen, added to, changed, deleted, or not used at all.

import { request } from "./api.js";
import { at, button, make, say } from "./elements.js";
import { set, settings } from "./settings.js";

const FACTS = "/v1/memory/facts";
const panel = at("memory"), list = at("facts");

async function change(path, options) {
  try {
    await request(FACTS + path, options);
    at("memory-error").textContent = "";
  } catch (error) { complain(error); }
  await show();
}

function complain(error) {
  at("memory-error").textContent = error.message;
}

async function show() {
  const { data } = await (await request(FACTS)).json();
  list.replaceChildren(...data.map(row));
  at("no-facts").hidden = data.length > 0;
  at("forget-all").disabled = !data.length;
}

function row(fact) {
  const about = [new Date(1000 * fact.updated_at).toLocaleDateString()];
  if (fact.superseded) about.push("a newer one has taken its place");
  const text = make("span", {}, fact.text);
  const words = make("div", { className: "words" }, text, make("div", { className: "quiet" }, about.join(" · ")));
  const item = make("li", { className: fact.superseded ? "superseded" : "" }, words);
  item.append(
    button("Edit", () => edit(item, fact), { ariaLabel: `Edit: ${fact.text}` }),
    button("Delete", () => remove(fact), { ariaLabel: `Delete: ${fact.text}` }),
  );
  return item;
}

async function remove(fact) {
  await change("/" + fact.id, { method: "DELETE" });
  say("Deleted");
  at("fact").focus();
}

function edit(item, fact) {
  const field = make("input", { value: fact.text, maxLength: 500, ariaLabel: "Fact" });
  const keep = () => field.value.trim() && change("/" + fact.id, { json: { text: field.value.trim() } });
  field.addEventListener("keydown", event => {
    if (event.key === "Enter") { event.preventDefault(); keep(); }
    if (event.key === "Escape") { event.preventDefault(); show(); }
  });
  item.replaceChildren(field, button("Keep", keep), button("Cancel", show));
  field.focus();
}

/** A button that has to be pressed twice. */
function twice(id, does) {
  const made = at(id), name = made.textContent;
  const back = () => { made.textContent = name; };
  made.addEventListener("blur", back);
  made.addEventListener("click", async () => {
    if (made.textContent === name) { made.textContent = "Really?"; return; }
    back();
    await does();
  });
}

/** Let the panel be used; `switched` is called when the memory has been switched on or off. */
export function prepareMemory(switched) {
  at("memory-open").hidden = false;
  at("use-memory").checked = settings.memory;
  at("use-memory").addEventListener("change", event => { set("memory", event.target.checked); switched(); });
  at("memory-open").addEventListener("click", () => { panel.showModal(); show().catch(complain); });
  at("memory-close").addEventListener("click", () => panel.close());
  at("remember").addEventListener("submit", async event => {
    event.preventDefault();
    const text = at("fact").value.trim();
    if (!text) return;
    at("fact").value = "";
    await change("", { json: { text } });
  });
  twice("forget-all", () => change("", { method: "DELETE" }));
  twice("forget-conversations", () => request("/v1/conversations", { method: "DELETE" }).then(switched, complain));
}
