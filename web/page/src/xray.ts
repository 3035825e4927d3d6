import type { Selected, Xray } from 'sferic';
import { button, download, element, node } from './dom';
import { make } from './svg';

/** Columns of the heat map at most; a longer context is binned. */
const COLUMNS = 480;
/** Tokens that are laid out at a time. */
const PIECE = 800;
const CELL = 16;
const LEFT = 60;

/** What the model looked at while it wrote a reply: a heat map over the context and the context itself. */
export class XrayView {
  private readonly dialog = element<HTMLDialogElement>('xray');
  private readonly slider = element<HTMLInputElement>('xray-layer');
  private readonly spans: HTMLSpanElement[] = [];
  private readonly chips: HTMLButtonElement[];
  /** What each layer selected for the token that is shown. */
  private layers: LayerView[] = [];
  private token = 0;

  constructor(private readonly xray: Xray) {
    const { tokens, prompt_tokens, layers } = xray;
    this.chips = tokens.slice(prompt_tokens).map((token, at) => button(shown(token), () => void this.choose(at), `Token ${at + 1}: ${shown(token)}`));
    element('xray-reply').replaceChildren(...this.chips);
    element('xray-text').replaceChildren();
    this.slider.max = String(layers.length);
    this.slider.value = '0';
    this.slider.oninput = () => this.draw();
    element('xray-close').onclick = () => this.dialog.close();
    element('xray-export').onclick = () => download('xray.svg', 'image/svg+xml', new XMLSerializer().serializeToString(this.map(true)));
    element('xray-text').onpointerover = ({ target }) => {
      const at = this.spans.indexOf(target as HTMLSpanElement);
      if (at >= 0) (target as HTMLSpanElement).title = this.tell(at);
    };
    element('xray-map').onpointermove = (event) => this.tellCell(event);
  }

  /** Shows the first token of the reply. */
  async open(): Promise<void> {
    this.dialog.showModal();
    // In pieces, so that a long context does not hold the page.
    for (let at = 0; at < this.xray.tokens.length; at += PIECE) {
      const piece = this.xray.tokens.slice(at, at + PIECE).map((token) => node('span', '', token));
      this.spans.push(...piece);
      element('xray-text').append(...piece);
      await new Promise((resolve) => setTimeout(resolve));
    }
    await this.choose(0);
    this.spans.find((span) => span.style.backgroundColor !== '')?.scrollIntoView({ block: 'center' });
  }

  private async choose(token: number): Promise<void> {
    this.token = token;
    this.layers = (await this.xray.selected(token)).map((selected) => new LayerView(selected));
    element('xray-at').textContent = '';
    this.chips.forEach((chip, at) => chip.setAttribute('aria-pressed', String(at === token)));
    this.draw();
  }

  private draw(): void {
    const { layers } = this.xray;
    const choice = Number(this.slider.value);
    const name = choice ? `layer ${layers[choice - 1]}` : 'all layers';
    element('xray-layer-name').textContent = name;
    this.slider.setAttribute('aria-valuetext', name);
    const shown = choice ? this.layers.slice(choice - 1, choice) : this.layers;
    const shares = new Float32Array(this.spans.length);
    for (const layer of shown) for (const [position, strength] of layer.strengths) shares[position] = (shares[position] ?? 0) + (0.1 + 0.9 * strength) / shown.length;
    this.spans.forEach((span, at) => (span.style.backgroundColor = shares[at] ? `rgb(241 160 60 / ${(0.05 + 0.7 * (shares[at] ?? 0)).toFixed(3)})` : ''));
    const n = shares.reduce((sum, share) => sum + Number(share > 0), 0);
    element('xray-count').textContent = `${n} of ${this.xray.prompt_tokens + this.token} tokens were read`;
    element('xray-map').replaceChildren(this.map());
  }

  /** What the layers that are shown think of a token. */
  private tell(position: number): string {
    const choice = Number(this.slider.value);
    const rows = choice ? [choice - 1] : this.layers.map((_, row) => row);
    const said = rows.flatMap((row) => this.layers[row]?.tell(position, `layer ${this.xray.layers[row]}`) ?? []);
    const token = `“${shown(this.xray.tokens[position] ?? '')}”, token ${position}`;
    return said.length ? `${token}: ${said.join('; ')}` : `${token}: not read`;
  }

  /** Says what is under the pointer: of the tokens of a cell the one with the highest score. */
  private tellCell({ clientX, clientY }: PointerEvent): void {
    const svg = element('xray-map').querySelector('svg');
    const box = svg?.getBoundingClientRect();
    if (!svg || !box?.width) return;
    const scale = (LEFT + COLUMNS * 2) / box.width;
    const row = Math.floor(((clientY - box.top) * scale) / CELL);
    const n_columns = this.columns();
    const column = Math.floor((((clientX - box.left) * scale - LEFT) * n_columns) / (COLUMNS * 2));
    const best = this.layers[row]?.bins(this.context(), n_columns)[column];
    element('xray-at').textContent = best ? `“${shown(this.xray.tokens[best.position] ?? '')}”, token ${best.position}: ${this.layers[row]?.tell(best.position, `layer ${this.xray.layers[row]}`)}` : '';
  }

  private context(): number {
    return this.xray.prompt_tokens + this.token;
  }

  private columns(): number {
    return Math.min(COLUMNS, this.context());
  }

  /** The heat map: a row for each layer, the context from left to right, darker where the indexer scores higher. */
  private map(hasTitles = false): SVGSVGElement {
    const [n_context, n_columns] = [this.context(), this.columns()];
    const [width, height] = [LEFT + COLUMNS * 2, this.layers.length * CELL + 24];
    const svg = make('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'font-family': 'sans-serif', 'font-size': 11, fill: 'currentColor' });
    svg.append(make('title', {}, `What each layer selected for token ${this.token + 1} of the reply, darker where its indexer scores higher`));
    this.layers.forEach((layer, row) => {
      const name = `layer ${this.xray.layers[row]}`;
      svg.append(make('text', { x: LEFT - 8, y: row * CELL + 12, 'text-anchor': 'end' }, name));
      svg.append(make('rect', { x: LEFT, y: row * CELL + 1, width: COLUMNS * 2, height: CELL - 2, 'fill-opacity': 0.07 }));
      layer.bins(n_context, n_columns).forEach((best, column) => {
        if (!best) return;
        const place = { x: LEFT + (column * COLUMNS * 2) / n_columns, y: row * CELL + 1, width: (COLUMNS * 2) / n_columns, height: CELL - 2 };
        const cell = make('rect', { ...place, fill: '#e07a1f', 'fill-opacity': (0.12 + 0.88 * best.strength).toFixed(2) });
        if (hasTitles) cell.append(make('title', {}, `token ${best.position}: ${layer.tell(best.position, name)}`));
        svg.append(cell);
      });
    });
    const axis = { y: height - 8 };
    svg.append(make('text', { ...axis, x: LEFT }, '0'), make('text', { ...axis, x: width, 'text-anchor': 'end' }, `token ${n_context}`));
    return svg;
  }
}

/** One layer's selection, with scores that are made comparable: from 0 for its lowest to 1 for its highest. */
class LayerView {
  readonly strengths = new Map<number, number>();
  private readonly scores = new Map<number, number>();

  constructor({ positions, scores }: Selected) {
    const lowest = scores?.reduce((least, score) => Math.min(least, score), Infinity) ?? 0;
    const highest = scores?.reduce((most, score) => Math.max(most, score), -Infinity) ?? 0;
    positions.forEach((position, at) => {
      const score = scores?.[at];
      // Without scores, or with the same for all, what was selected is all alike.
      this.strengths.set(position, score === undefined || highest <= lowest ? 1 : (score - lowest) / (highest - lowest));
      if (score !== undefined) this.scores.set(position, score);
    });
  }

  /** The position with the highest score of each bin, where something was selected. */
  bins(n_context: number, n_columns: number): ({ position: number; strength: number } | undefined)[] {
    const best: ({ position: number; strength: number } | undefined)[] = Array.from({ length: n_columns }, () => undefined);
    for (const [position, strength] of this.strengths) {
      const column = Math.floor((position * n_columns) / n_context);
      if (strength >= (best[column]?.strength ?? 0)) best[column] = { position, strength };
    }
    return best;
  }

  tell(position: number, name: string): string | undefined {
    const strength = this.strengths.get(position);
    if (strength === undefined) return undefined;
    const score = this.scores.get(position);
    return score === undefined ? `${name} read it` : `${name} scored ${score.toPrecision(3)}, ${(100 * strength).toFixed(0)} % of its range`;
  }
}

/** A token as a label: what cannot be seen is shown. */
function shown(token: string): string {
  return token.replaceAll('\n', '⏎').replace(/^ | $/g, '·') || '∅';
}
