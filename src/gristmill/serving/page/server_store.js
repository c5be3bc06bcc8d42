// Conversations on the server, which has a memory. It keeps a question and its answer by itself: what is sent is only
// what is new. So a conversation's messages here and its items there are the same, one for one.

import { request } from "./api.js";
import { deleted, elsewhere, plain } from "./store.js";

const PAGE = 100; // conversations read at a time
const LATE = 200, TRIES = 10; // milliseconds, times: an answer that was stopped is kept a moment later

const ask = async (path, options) => (await request("/v1/conversations" + path, options)).json();
const text = item => item.content.map(part => part.text).join("");

export class ServerStore {
  where = "on the server";

  async list(words = "") {
    if (words.trim()) return (await ask("?query=" + encodeURIComponent(words))).data.map(told);
    const all = [];
    for (let more = true, after = ""; more;) {
      const { data, has_more, last_id } = await ask(`?limit=${PAGE}${after && "&after=" + after}`);
      all.push(...data.map(told));
      [more, after] = [has_more, last_id];
    }
    return all;
  }

  async read(id) {
    const items = await this.items(id), about = await ask("/" + id);
    const finish = ({ status }) => status === "incomplete" ? "incomplete" : "stop";
    const messages = items.map(item => ({ role: item.role, content: text(item), finish: finish(item) }));
    return { ...told(about), messages };
  }

  async items(id) {
    const gone = error => { throw error.status === 404 ? deleted() : error; };
    return (await ask(`/${id}/items`).catch(gone)).data;
  }

  /** Only a name is left to be written. */
  async write({ id, title, metadata }) {
    if (metadata && metadata.title !== title) await ask("/" + id, { json: { metadata: { ...metadata, title } } });
  }

  async remove(id) {
    await ask("/" + id, { method: "DELETE" });
  }

  /** What a request has to say so that `messages`, the last of them new, are answered; `known` were there before. */
  async body(conversation, messages, known, system) {
    if (!conversation.metadata) {
      const { title } = conversation;
      Object.assign(conversation, told(await ask("", { json: { metadata: { title } } })));
    }
    const { id } = conversation, same = (item, place) => item.role === known[place].role;
    let items = await this.items(id);
    for (let tries = 0; items.length < known.length && tries < TRIES; tries++) {
      await new Promise(done => setTimeout(done, LATE));
      items = await this.items(id);
    }
    if (items.length !== known.length || !items.every(same)) {
      throw elsewhere();
    }
    for (const item of items.slice(messages.length - 1).reverse()) {
      await ask(`/${id}/items/${item.id}`, { method: "DELETE" });
    }
    return { conversation: id, memory: true, messages: plain(messages.slice(-1), system) };
  }

  /** The messages of a conversation after a request that failed. */
  async restored(conversation) {
    return conversation.metadata ? (await this.read(conversation.id)).messages : [];
  }

  async exported() {
    return (await request("/v1/conversations/export")).text();
  }
}

function told({ id, metadata, created_at, updated_at, matches }) {
  const title = metadata.title ?? "Untitled", excerpt = matches?.[0].excerpt;
  return { id, metadata, title, excerpt, created: 1000 * created_at, updated: 1000 * updated_at, messages: [] };
}
