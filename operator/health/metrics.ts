/** Metrics that every process with an API server has. Labels are bounded: by kinds and codes, never names. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { RequestObserver } from "../kube/client.ts";
import type { AnyReflector } from "../kube/reflector.ts";

export function createRegistry(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return registry;
}

export function observeRequests(registry: Registry): RequestObserver {
  const requests = new Counter({
    name: "l2tp_cni_api_requests_total",
    help: "Requests to the API server, by method and HTTP status, or errno's name.",
    labelNames: ["method", "code"],
    registers: [registry],
  });
  const seconds = new Histogram({
    name: "l2tp_cni_api_request_duration_seconds",
    help: "Until the API server's answer began.",
    labelNames: ["method"],
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 30],
    registers: [registry],
  });
  return (method, code, duration) => {
    requests.inc({ method, code });
    seconds.observe({ method }, duration);
  };
}

/** @returns takes how long it took from seeing an object until it was programmed, in seconds */
export function observeProgramming(registry: Registry): (seconds: number) => void {
  const histogram = new Histogram({
    name: "l2tp_cni_programming_duration_seconds",
    help: "From seeing a version of an object that was accepted until it was programmed.",
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    registers: [registry],
  });
  return (seconds) => histogram.observe(seconds);
}

/** @param reflectors by the plural of their resource */
export function watchReflectors(
  registry: Registry,
  reflectors: Readonly<Record<string, AnyReflector>>,
): void {
  new Gauge({
    name: "l2tp_cni_watch_silence_seconds",
    help: "Since the API server has last said anything about a resource; it does so every minute or so.",
    labelNames: ["resource"],
    registers: [registry],
    collect() {
      for (const [resource, { silentMs }] of Object.entries(reflectors)) {
        this.set({ resource }, silentMs / 1000);
      }
    },
  });
  new Gauge({
    name: "l2tp_cni_watch_objects",
    help: "Objects of a resource that are kept in memory.",
    labelNames: ["resource"],
    registers: [registry],
    collect() {
      for (const [resource, { size }] of Object.entries(reflectors)) this.set({ resource }, size);
    },
  });
}

export function watchQueue(registry: Registry, name: string, depth: () => number): void {
  new Gauge({
    name: `l2tp_cni_${name}_queue_depth`,
    help: "Keys that wait to be worked on.",
    registers: [registry],
    collect() {
      this.set(depth());
    },
  });
}
