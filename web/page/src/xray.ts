import type { Xray } from 'sferic';
import { button, download, element, node } from './dom';
import { make } from './svg';

/** Columns of the heat map at most; a longer context is binned. */
const COLUMNS = 480;
const CELL = 16;
const LEFT = 60;

/** What the model looked at while it wrote a reply: a heat map over the context and the context itself. */
export class XrayView {
  private readonly dialog = element<HTMLDialogElement>('xray');
  private readonly slider = element<HTMLInputElement>('xray-layer');
  private readonly spans: HTMLSpanElement[];
  private readonly chips: HTMLButtonElement[];
  /** Selected positions of each layer for the token that is shown. */
  private selected: Int32Array[] = [];
  private token = 0;

  constructor(private readonly xray: Xray) {
    const { tokens, prompt_tokens, layers } = xray;
    this.spans = tokens.map((token) => node('span', '', token));
    this.chips = tokens.slice(prompt_tokens).map((token, at) => button(shown(token), () => void this.choose(at), `Token ${at + 1}: ${shown(token)}`));
    element('xray-reply').replaceChildren(...this.chips);
    element('xray-text').replaceChildren(...this.spans);
    this.slider.max = String(layers.length);
    this.slider.value = '0';
    this.slider.oninput = () => this.draw();
    element('xray-close').onclick = () => this.dialog.close();
    element('xray-export').onclick = () => download('xray.svg', 'image/svg+xml', new XMLSerializer().serializeToString(this.map()));
  }

  /** Shows the first token of the reply. */
  async open(): Promise<void> {
    this.dialog.showModal();
    await this.choose(0);
    this.spans.find((span) => span.style.backgroundColor !== '')?.scrollIntoView({ block: 'center' });
  }

  private async choose(token: number): Promise<void> {
    this.token = token;
    this.selected = await this.xray.selected(token);
    this.chips.forEach((chip, at) => chip.setAttribute('aria-pressed', String(at === token)));
    this.draw();
  }

  private draw(): void {
    const { layers } = this.xray;
    const choice = Number(this.slider.value);
    const name = choice ? `layer ${layers[choice - 1]}` : 'all layers';
    element('xray-layer-name').textContent = name;
    this.slider.setAttribute('aria-valuetext', name);
    const rows = choice ? this.selected.slice(choice - 1, choice) : this.selected;
    const shares = new Float32Array(this.spans.length);
    for (const row of rows) for (const position of row) shares[position] = (shares[position] ?? 0) + 1 / rows.length;
    // Squared: what few layers read fades, what all read stands out.
    this.spans.forEach((span, at) => (span.style.backgroundColor = shares[at] ? `rgb(241 160 60 / ${(0.75 * (shares[at] ?? 0) ** 2).toFixed(3)})` : ''));
    const n = shares.reduce((sum, share) => sum + Number(share > 0), 0);
    element('xray-count').textContent = `${n} of ${this.xray.prompt_tokens + this.token} tokens were read`;
    element('xray-map').replaceChildren(this.map());
  }

  /** The heat map: a row for each layer, the context from left to right, darker where more of a bin is selected. */
  private map(): SVGSVGElement {
    const { layers, prompt_tokens } = this.xray;
    const n_context = prompt_tokens + this.token;
    const n_columns = Math.min(COLUMNS, n_context);
    const [width, height] = [LEFT + COLUMNS * 2, layers.length * CELL + 24];
    const svg = make('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'font-family': 'sans-serif', 'font-size': 11, fill: 'currentColor' });
    svg.append(make('title', {}, `What each layer selected for token ${this.token + 1} of the reply`));
    layers.forEach((layer, row) => {
      svg.append(make('text', { x: LEFT - 8, y: row * CELL + 12, 'text-anchor': 'end' }, `layer ${layer}`));
      svg.append(make('rect', { x: LEFT, y: row * CELL + 1, width: COLUMNS * 2, height: CELL - 2, 'fill-opacity': 0.07 }));
      const counts = new Uint32Array(n_columns);
      for (const position of this.selected[row] ?? []) {
        const column = Math.floor((position * n_columns) / n_context);
        counts[column] = (counts[column] ?? 0) + 1;
      }
      counts.forEach((count, column) => {
        if (!count) return;
        const share = Math.min(1, (count * n_columns) / n_context);
        const place = { x: LEFT + (column * COLUMNS * 2) / n_columns, y: row * CELL + 1, width: (COLUMNS * 2) / n_columns, height: CELL - 2 };
        svg.append(make('rect', { ...place, fill: '#e07a1f', 'fill-opacity': (0.15 + 0.85 * share).toFixed(2) }));
      });
    });
    const axis = { y: height - 8 };
    svg.append(make('text', { ...axis, x: LEFT }, '0'), make('text', { ...axis, x: width, 'text-anchor': 'end' }, `token ${n_context}`));
    return svg;
  }
}

/** A token as a label: what cannot be seen is shown. */
function shown(token: string): string {
  return token.replaceAll('\n', '⏎').replace(/^ | $/g, '·') || '∅';
}
