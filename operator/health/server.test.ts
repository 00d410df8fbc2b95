import { Gauge, Registry } from "prom-client";
import { afterEach, expect, it } from "vitest";
import { type HealthServer, serveHealth } from "./server.ts";

let server: HealthServer | undefined;

afterEach(() => server?.close());

function options(registry = new Registry()) {
  return { address: "127.0.0.1:0", registry, sick: () => null, unready: () => null };
}

it("serves the process's registry from another thread", async () => {
  const registry = new Registry();
  let collected = 0;
  new Gauge({
    name: "figure",
    help: "A figure.",
    registers: [registry],
    collect() {
      this.set(++collected);
    },
  });
  server = await serveHealth({ ...options(registry), unready: () => "not yet" });
  const page = (path: string) => fetch(`http://127.0.0.1:${server?.port}${path}`);
  const started = performance.now();
  const responses = await Promise.all(Array.from({ length: 50 }, () => page("/metrics")));
  expect(await responses[0]?.text()).toContain("figure 1");
  expect(responses[0]?.headers.get("content-type")).toBe(registry.contentType);
  expect(collected).toBeLessThanOrEqual(1 + Math.floor((performance.now() - started) / 1000));
  expect(await (await page("/healthz")).text()).toBe("ok\n");
  const ready = await page("/readyz");
  expect([ready.status, await ready.text()]).toEqual([503, "not yet\n"]);
});

it("serves the other metrics if refresh fails", async () => {
  const refresh = () => Promise.reject(new Error("the datapath is away"));
  server = await serveHealth({ ...options(), refresh });
  expect((await fetch(`http://127.0.0.1:${server.port}/metrics`)).status).toBe(200);
});

it("refuses an address that is invalid or in use", async () => {
  await expect(serveHealth({ ...options(), address: "here" })).rejects.toThrow("invalid listen");
  server = await serveHealth(options());
  const address = `127.0.0.1:${server.port}`;
  await expect(serveHealth({ ...options(), address })).rejects.toThrow("EADDRINUSE");
});
