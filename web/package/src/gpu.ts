import type { AdapterFacts } from './reports';

declare const BUILD: string;

/** As much of WebGPU as is asked here. */
interface Adapter {
  features: ReadonlySet<string>;
  limits: object;
  info: { vendor: string; architecture: string; device: string; description: string; isFallbackAdapter?: boolean };
}
interface DeviceRequest {
  requiredFeatures?: Iterable<string>;
}
declare const GPUAdapter: { prototype: { requestDevice(request?: DeviceRequest): Promise<unknown> } };

/** Returns what the browser says of the adapter that the engine takes; `undefined` where there is none. */
export async function describeAdapter(): Promise<AdapterFacts | undefined> {
  const { gpu } = navigator as unknown as { gpu?: { requestAdapter(options: object): Promise<Adapter | null> } };
  const adapter = await gpu?.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null);
  if (!adapter) return undefined;
  const { vendor, architecture, device, description, isFallbackAdapter = false } = adapter.info;
  const name = description || [vendor, architecture, device].filter(Boolean).join(' ') || 'unnamed';
  // Limits are properties of the prototype.
  const limits = adapter.limits as Record<string, number>;
  const numbers: Record<string, number> = {};
  for (const limit in limits) if (typeof limits[limit] === 'number') numbers[limit] = limits[limit];
  return {
    name,
    software: isFallbackAdapter,
    features: [...adapter.features].sort(),
    limits: numbers,
    // Drivers are not told; a new one comes with a new browser or a new name, or is asked for by hand.
    key: [vendor, architecture, device, description, navigator.userAgent, BUILD].join(' | '),
  };
}

let added = false;

/** wgpu passes no request for subgroups on to the browser, so they are added to the one that it makes. Only for workers. */
export function addSubgroups(): void {
  if (added) return;
  added = true;
  const { prototype } = GPUAdapter;
  const requestDevice = prototype.requestDevice;
  prototype.requestDevice = function (this: Adapter, request: DeviceRequest = {}) {
    const subgroups = this.features.has('subgroups') ? ['subgroups'] : [];
    return requestDevice.call(this as never, { ...request, requiredFeatures: [...(request.requiredFeatures ?? []), ...subgroups] });
  };
}

/** What the module is told of the adapter. */
export function forModule({ name, features }: AdapterFacts): { name: string; driver: string; subgroups: boolean } {
  const browser = /(Edg|OPR|Firefox|HeadlessChrome|Chrome)\/[\d.]+/.exec(navigator.userAgent)?.[0] ?? navigator.userAgent;
  return { name, driver: browser, subgroups: features.includes('subgroups') };
}
