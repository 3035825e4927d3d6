import { Engine, type ChatChunk, type Usage } from 'sferic';
import { del, get, keys, set } from 'idb-keyval';
import * as talk from './conversation';
import { DevicePanel } from './device';
import { button, bytes, download, element, node } from './dom';
import { dropped, loadEngine, tell, type Source } from './loader';
import { MessageView } from './messages';
import { Settings } from './settings';
import { XrayView } from './xray';

declare const MODEL: string;

/** From this length on a pasted text becomes a document. */
const DOCUMENT_CHARACTERS = 2000;
/** The shortest time between two drawings of a reply, so that the page stays quick. */
const FRAME_MS = 40;

const TITLE = document.title;

let engine: Engine | undefined;
let conversation = talk.emptyConversation();
let attached: { name: string; text: string } | undefined;
let running: AbortController | undefined;
/** What is loaded, or about to be. */
let source: Source;
/** The reply that the engine wrote last. */
let last: talk.Turn | undefined;

const input = element<HTMLTextAreaElement>('input');
const settings = new Settings(() => void open(source));
const devicePanel = new DevicePanel(() => void open(source));
const view = new MessageView(element('conversation'), {
  ask: (question) => void ask(question),
  edit: (turn, content) => void answer(talk.append(conversation, turn.parent, { role: 'user', content, ...(turn.document && { document: turn.document }) })),
  regenerate: (turn) => void answer(turn.parent === null ? undefined : conversation.turns[turn.parent]),
  isLast: (turn) => turn === last,
  xray: () => void look(),
  show: (turn) => {
    talk.show(conversation, turn);
    draw();
    void keep();
  },
});

async function open(wanted: Source): Promise<void> {
  source = wanted;
  running?.abort();
  devicePanel.pause();
  engine?.unload();
  engine = last = undefined;
  tell('');
  draw();
  const loaded = await loadEngine(source, settings.device, settings.context);
  if (!loaded) return;
  engine = loaded;
  const { device, n_parameters } = engine.info;
  const place = device.gpu_index === null ? 'the processor' : device.name;
  element('device').textContent = `${nameOf(source)}, ${(n_parameters / 1e6).toFixed(0)} M parameters, on ${place}. Nothing you write leaves this device.`;
  devicePanel.show(engine.info);
  refresh();
  void listModels();
}

/** Loads a kept model, now and at the next visit. */
function load(model: string): void {
  const address = element<HTMLInputElement>('model-address');
  address.value = model === new URL(MODEL, location.href).href ? '' : model;
  address.dispatchEvent(new Event('change'));
  void open(chosen());
}

/** The model of the settings, or the demo model. */
function chosen(): Source {
  return { model: element<HTMLInputElement>('model-address').value.trim() || MODEL };
}

function nameOf(source: Source): string {
  if ('files' in source) return source.files[0]?.webkitRelativePath.split('/')[0] || 'Your model';
  return source.model === MODEL ? 'Scout' : (source.model.split('/').filter((part) => part && !['resolve', 'tree', 'main'].includes(part)).at(-1) ?? source.model);
}

async function ask(question: string): Promise<void> {
  if (!engine || running || !question.trim()) return;
  const parent = conversation.leaf;
  const turn = talk.append(conversation, parent, { role: 'user', content: question, ...(attached && { document: attached }) });
  input.value = '';
  attach(undefined);
  await answer(turn);
}

/** Writes a reply to the message. */
async function answer(question: talk.Turn | undefined): Promise<void> {
  if (!engine || running || !question) return;
  conversation.leaf = question.id;
  const messages = talk.messages(talk.shown(conversation), settings.system);
  const reply = talk.append(conversation, question.id, { role: 'assistant', content: '' });
  const stop = (running = new AbortController());
  devicePanel.pause();
  draw();
  let lastDrawn = 0;
  try {
    const chunks = engine.chat.completions.create({ messages, ...settings.request, stream: true }, { signal: stop.signal });
    for await (const chunk of chunks) {
      take(reply, chunk);
      // Progress of the prompt draws nothing here: the first word, right behind it, must not wait for the second.
      if (chunk.choices[0].delta.content && performance.now() - lastDrawn > FRAME_MS) {
        view.update(reply);
        lastDrawn = performance.now();
      }
    }
  } catch (error) {
    reply.error = error instanceof Error ? error.message : String(error);
  }
  running = undefined;
  devicePanel.later();
  last = reply.usage && engine.info.model_type.includes('v32') ? reply : undefined;
  element('live').textContent = talk.answerOf(reply.content).answer;
  if (document.hidden) document.title = `✓ ${TITLE}`;
  draw();
  await keep();
}

/** Shows what the model looked at while it wrote the last reply. */
async function look(): Promise<void> {
  if (!engine || running) return;
  element('stats').textContent = 'Computing the reply again …';
  try {
    await new XrayView(await engine.xray()).open();
  } catch (error) {
    element('stats').textContent = error instanceof Error ? error.message : String(error);
    return;
  }
  refresh();
}

function take(reply: talk.Turn, { choices, prefill, usage }: ChatChunk): void {
  const [{ delta, finish_reason }] = choices;
  reply.content += delta.content ?? '';
  if (prefill) element('stats').textContent = `Reading: ${prefill.done} of ${prefill.total} tokens`;
  if (finish_reason) reply.finish_reason = finish_reason;
  if (usage) reply.usage = usage;
}

function describe({ completion_tokens, decode_secs, time_to_first_token_secs, total_tokens }: Usage): string {
  const rate = completion_tokens > 1 ? `${((completion_tokens - 1) / decode_secs).toFixed(1)} tokens/s, ` : '';
  return `${rate}first token after ${time_to_first_token_secs.toFixed(2)} s, ${total_tokens} tokens of context`;
}

/** Shows the conversation as it is. */
function draw(): void {
  view.show(conversation, running !== undefined);
  refresh();
}

/** Shows what can be done now. */
function refresh(): void {
  element<HTMLButtonElement>('send').disabled = !engine || running !== undefined;
  element('stop').hidden = running === undefined;
  const usage = talk.shown(conversation).findLast((turn) => turn.usage)?.usage;
  element('stats').textContent = usage ? describe(usage) : '';
  element<HTMLMeterElement>('context').value = usage && engine ? usage.total_tokens / engine.info.plan.context : 0;
}

function attach(document: { name: string; text: string } | undefined): void {
  attached = document;
  element('document').hidden = !document;
  element('document-name').textContent = document ? `${document.name}, ${document.text.length.toLocaleString()} characters` : '';
}

async function keep(): Promise<void> {
  if (conversation.leaf !== null) await set(conversation.id, conversation);
}

async function all(): Promise<talk.Conversation[]> {
  const kept = await Promise.all((await keys<string>()).map((key) => get<talk.Conversation>(key)));
  return kept.filter((one) => one !== undefined).sort((a, b) => b.changed - a.changed);
}

async function list(): Promise<void> {
  const words = element<HTMLInputElement>('search').value;
  const found = (await all()).filter((one) => talk.matches(one, words));
  const items = found.map((one) => {
    const item = node('li');
    const remove = () => void del(one.id).then(list);
    item.append(button(talk.title(one), () => start(one)), button('Delete', remove, `Delete ${talk.title(one)}`));
    return item;
  });
  element('conversations').replaceChildren(...(items.length ? items : [node('li', 'quiet', 'None yet')]));
}

async function listModels(): Promise<void> {
  const items = (await Engine.stored()).map(({ model, bytes: size, total }) => {
    const item = node('li');
    const part = size < total ? ` of ${bytes(total)}` : '';
    item.append(node('span', '', `${model}, ${bytes(size)}${part}`), button('Load', () => load(model), `Load ${model}`), button('Delete', () => void Engine.forget(model).then(listModels), `Delete ${model}`));
    return item;
  });
  element('models').replaceChildren(...(items.length ? items : [node('li', 'quiet', 'None')]));
}

function start(other: talk.Conversation): void {
  running?.abort();
  conversation = other;
  draw();
  input.focus();
}

/** Opens or closes a panel. */
function panel(name: 'list' | 'settings', onOpen: () => void): void {
  const toggle = element(`${name}-button`);
  toggle.addEventListener('click', () => {
    const isOpen = (element(name).hidden = !element(name).hidden);
    toggle.setAttribute('aria-expanded', String(!isOpen));
    if (!isOpen) onOpen();
  });
}

panel('list', () => void list());
panel('settings', () => void listModels());
element('search').addEventListener('input', () => void list());
element('new').addEventListener('click', () => start(talk.emptyConversation()));
element('stop').addEventListener('click', () => running?.abort());
element('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  void ask(input.value);
});
input.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    void ask(input.value);
  }
});
input.addEventListener('paste', (event) => {
  const text = event.clipboardData?.getData('text/plain') ?? '';
  if (text.length < DOCUMENT_CHARACTERS) return;
  event.preventDefault();
  attach({ name: 'pasted text', text });
});
element('attach').addEventListener('click', () => element('file').click());
element<HTMLInputElement>('file').addEventListener('change', async ({ target }) => {
  const picker = target as HTMLInputElement;
  const file = picker.files?.[0];
  if (file) attach({ name: file.name, text: await file.text() });
  picker.value = '';
});
element('load-address').addEventListener('click', () => void open(chosen()));
element('open-folder').addEventListener('click', () => element('model-files').click());
element<HTMLInputElement>('model-files').addEventListener('change', ({ target }) => {
  const picker = target as HTMLInputElement;
  const files = [...(picker.files ?? [])];
  picker.value = '';
  if (files.length) void open({ files });
});
document.addEventListener('dragover', (event) => {
  if (event.dataTransfer?.types.includes('Files')) event.preventDefault();
});
document.addEventListener('drop', async (event) => {
  // A text that is dropped goes where it falls.
  if (!event.dataTransfer?.types.includes('Files')) return;
  event.preventDefault();
  const files = await dropped(event.dataTransfer);
  const [file] = files;
  // A single file is something to read, everything else a model.
  if (file && files.length === 1) attach({ name: file.name, text: await file.text() });
  else if (files.length) void open({ files });
});
element('notice-close').addEventListener('click', () => tell(''));
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) document.title = TITLE;
});
element('document-remove').addEventListener('click', () => attach(undefined));
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') running?.abort();
  if (event.key.toLowerCase() === 'o' && event.ctrlKey && event.shiftKey) {
    event.preventDefault();
    start(talk.emptyConversation());
  }
});
element('export-json').addEventListener('click', () => download('conversation.json', 'application/json', JSON.stringify(conversation, undefined, 2)));
element('export-markdown').addEventListener('click', () => download('conversation.md', 'text/markdown', talk.asMarkdown(conversation)));
element('import').addEventListener('click', () => element('import-file').click());
element<HTMLInputElement>('import-file').addEventListener('change', async ({ target }) => {
  const picker = target as HTMLInputElement;
  const file = picker.files?.[0];
  picker.value = '';
  if (!file) return;
  try {
    start(talk.parseConversation(await file.text()));
    await keep();
    await list();
  } catch (error) {
    element('stats').textContent = `${file.name}: ${error instanceof Error ? error.message : String(error)}`;
  }
});

// Without it, in a browser that refuses it, the page works and needs the network at each visit.
navigator.serviceWorker?.register('./sw.js').catch((error: unknown) => console.warn('no service worker:', error));
draw();
void open(chosen());
