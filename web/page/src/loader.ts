import { Engine, type Progress } from 'sferic';
import { bytes, element } from './dom';

const PHASES = { wait: 'Waiting for another tab', download: 'Downloading', read: 'Reading', open: 'Opening' };

/** Loads the model and says how far it is. */
export async function loadEngine(model: string, device: 'auto' | 'gpu' | 'cpu'): Promise<Engine> {
  const [loading, bar, phase, again] = [element('loading'), element<HTMLProgressElement>('progress'), element('phase'), element('load')];
  for (;;) {
    [loading.hidden, again.hidden, bar.hidden] = [false, true, false];
    const start = performance.now();
    try {
      const engine = await Engine.load({
        model,
        device,
        onProgress: (progress) => (phase.textContent = line(progress, bar, start)),
        onRecover: (cause) => (element('stats').textContent = `The device failed (${cause}). Starting again …`),
      });
      loading.hidden = true;
      void navigator.storage?.persist?.();
      return engine;
    } catch (error) {
      phase.textContent = error instanceof Error ? error.message : String(error);
      [again.hidden, bar.hidden] = [false, true];
      await new Promise((resolve) => again.addEventListener('click', resolve, { once: true }));
    }
  }
}

function line({ phase, file = '', loaded, total }: Progress, bar: HTMLProgressElement, start: number): string {
  if (total === undefined || phase === 'open' || phase === 'wait') bar.removeAttribute('value');
  else bar.value = total ? loaded / total : 1;
  if (phase !== 'download') return `${PHASES[phase]} ${file} …`;
  const seconds = (performance.now() - start) / 1000;
  const left = total === undefined ? '' : `, ${Math.ceil(((total - loaded) / loaded) * seconds)} s left`;
  const whole = total === undefined ? '' : ` of ${bytes(total)}`;
  return `${PHASES[phase]} ${file}: ${bytes(loaded)}${whole}, ${bytes(loaded / seconds)}/s${left}`;
}
