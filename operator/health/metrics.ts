/** Metrics of every process that uses the API server. Labels are kinds and codes, never names, so they are bounded. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { RequestObserver } from "../kube/client.ts";
import type { AnyReflector } from "../kube/reflector.ts";

/** Creates a registry with the default metrics of a Node process. */
export function createRegistry(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return registry;
}

/** Registers the request metrics. @returns the observer that a KubeClient calls after each request */
export function observeRequests(registry: Registry): RequestObserver {
  const requests = new Counter({
    name: "l2tp_cni_api_requests_total",
    help: "Requests to the API server, by method and HTTP status or errno name.",
    labelNames: ["method", "code"],
    registers: [registry],
  });
  const seconds = new Histogram({
    name: "l2tp_cni_api_request_duration_seconds",
    help: "API request latency until the response headers.",
    labelNames: ["method"],
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 30],
    registers: [registry],
  });
  return (method, code, duration) => {
    requests.inc({ method, code });
    seconds.observe({ method }, duration);
  };
}

/** Registers the programming metric. @returns a function that records a duration in seconds */
export function observeProgramming(registry: Registry): (seconds: number) => void {
  const histogram = new Histogram({
    name: "l2tp_cni_programming_duration_seconds",
    help: "Time from receiving an accepted version of an object until it is programmed.",
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    registers: [registry],
  });
  return (seconds) => histogram.observe(seconds);
}

/** Registers metrics of reflectors. @param reflectors by the plural of their resource */
export function watchReflectors(
  registry: Registry,
  reflectors: Readonly<Record<string, AnyReflector>>,
): void {
  new Gauge({
    name: "l2tp_cni_watch_silence_seconds",
    help: "Seconds since the last message from the API server; it sends one about every minute.",
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
    help: "Objects of a resource in memory.",
    labelNames: ["resource"],
    registers: [registry],
    collect() {
      for (const [resource, { size }] of Object.entries(reflectors)) this.set({ resource }, size);
    },
  });
}

/** Registers the depth of a work queue as l2tp_cni_NAME_queue_depth. */
export function watchQueue(registry: Registry, name: string, depth: () => number): void {
  new Gauge({
    name: `l2tp_cni_${name}_queue_depth`,
    help: "Work queue depth.",
    registers: [registry],
    collect() {
      this.set(depth());
    },
  });
}
