import { describeAdapter, selfTest, type EngineInfo, type Verdict } from 'sferic';
import { bytes, element, node } from './dom';

/** How long nothing is asked before the kernels are checked, so that the check takes no time of a reply's. */
const IDLE_MS = 3000;

/** What the engine runs on, and whether its kernels are right there. */
export class DevicePanel {
  private info: EngineInfo | undefined;
  /** A check takes a minute on the processor: there it is done on demand alone. */
  private isSlow = true;
  private waiting: ReturnType<typeof setTimeout> | undefined;
  private running: AbortController | undefined;
  private readonly button = element<HTMLButtonElement>('self-test');

  /** `onVerdict` hears of a check that has come out otherwise than what the engine was opened with. */
  constructor(private readonly onVerdict: () => void) {
    this.button.addEventListener('click', () => (this.running ? this.pause() : void this.check(true)));
    void describeAdapter().then((adapter) => {
      element('adapter-details').hidden = this.button.hidden = !adapter;
      if (!adapter) return;
      this.isSlow = adapter.software;
      this.later();
      const facts = { Name: adapter.name, Features: adapter.features.join(', ') || 'none', ...adapter.limits };
      element('adapter').replaceChildren(...list(facts));
    });
  }

  /** Shows an engine; its kernels are checked once nothing else is to do, where that was not done before. */
  show(info: EngineInfo): void {
    this.info = info;
    const { device, reason, plan, runs_on_kernels, warnings } = info;
    element('facts').replaceChildren(
      ...list({ Device: device.name, Class: device.class, Reason: reason, Kernels: runs_on_kernels ? 'our own' : 'none: the reference path', Context: `${plan.context} tokens`, Memory: bytes(plan.total_bytes), Module: bytes(info.wasm_bytes), Notes: warnings.join(' ') || 'none' }),
    );
    this.say(info.verdict);
    this.later();
  }

  /** Nothing is being computed any more: the check may begin. */
  later(): void {
    clearTimeout(this.waiting);
    const { info } = this;
    if (info?.runs_on_kernels && !info.verdict && !this.isSlow) this.waiting = setTimeout(() => void this.check(false), IDLE_MS);
  }

  /** Something is to be computed: the check waits. */
  pause(): void {
    clearTimeout(this.waiting);
    this.running?.abort();
  }

  private async check(again: boolean): Promise<void> {
    clearTimeout(this.waiting);
    if (this.running) return;
    const stop = (this.running = new AbortController());
    this.button.textContent = 'Stop the check';
    try {
      const onProgress = ({ what, done, total }: { what: string; done: number; total: number }) => {
        element('verdict').textContent = `Checking kernel ${done + 1} of ${total}: ${what}`;
      };
      const verdict = await selfTest({ again, onProgress, signal: stop.signal });
      const known = this.info?.verdict;
      const isOther = verdict && (verdict.left_out !== (known?.left_out ?? 'base') || verdict.usable !== (known?.usable ?? true));
      if (this.info && verdict) this.info = { ...this.info, verdict };
      this.say(this.info?.verdict ?? verdict);
      if (isOther) this.onVerdict();
    } catch (error) {
      element('verdict').textContent = `The check of the kernels did not end: ${error instanceof Error ? error.message : String(error)}`;
    } finally {
      this.running = undefined;
      this.button.textContent = 'Check the kernels again';
    }
  }

  private say(verdict: Verdict | undefined): void {
    element('verdict').textContent = verdict ? describe(verdict) : 'The kernels have not been checked on this adapter.';
    element('failures').replaceChildren(...(verdict?.failures ?? []).map(({ kernel, case: name, reason }) => node('li', 'quiet', `${name || kernel}: ${reason}`)));
  }
}

function describe({ n_cases, seconds, when, failures, left_out, usable }: Verdict): string {
  const ran = `${n_cases} checks of the kernels in ${seconds.toFixed(1)} s on ${new Date(when).toLocaleDateString()}`;
  if (!failures.length) return `Sound: ${ran}, all passed.`;
  if (usable) return `${ran}: ${failures.length} failed, none without ${left_out}. The engine leaves that out.`;
  return `${ran}: ${failures.length} failed, some without any feature too. "auto" takes the processor; replies of this adapter may be wrong.`;
}

function list(facts: Record<string, string | number>): HTMLElement[] {
  return Object.entries(facts).flatMap(([name, value]) => [node('dt', '', name), node('dd', '', String(value))]);
}
