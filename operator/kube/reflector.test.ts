import { afterEach, describe, expect, it } from "vitest";
import { until } from "../../test/harness/wait.ts";
import type { KubeError } from "./errors.ts";
import { type Answer, FakeServer, json, page, thing, watch } from "./fake-server.ts";
import type { KubeObject } from "./object.ts";
import { Reflector, type ReflectorTiming } from "./reflector.ts";

const FAST: Partial<ReflectorTiming> = { firstBackoffMs: 5, mostBackoffMs: 20 };
const gone = { code: 410, reason: "Expired", message: "too old resource version" };
const event = (type: string, name: string, version: string) => ({
  type,
  object: type === "BOOKMARK" ? { metadata: { resourceVersion: version } } : thing(name, version),
});

let server: FakeServer;
let stopped: AbortController;

afterEach(() => {
  stopped.abort(new Error("stopped"));
  server.stop();
});

async function start(
  answers: readonly Answer[],
  options: { fromCache?: boolean; timing?: Partial<ReflectorTiming> } = {},
) {
  server = await FakeServer.start(...answers);
  stopped = new AbortController();
  const changed: string[] = [];
  const failures: KubeError[] = [];
  const reflector = new Reflector<KubeObject>({
    client: server.client,
    path: "/apis/x/v1/things",
    labelSelector: "a=b",
    changed: (key) => changed.push(key),
    failed: (error) => failures.push(error),
    ...options,
    timing: { ...FAST, ...options.timing },
  });
  void reflector.run(stopped.signal);
  return { reflector, changed, failures };
}

const keys = (reflector: Reflector<KubeObject>) =>
  Array.from(reflector.values(), ({ metadata }) => metadata.name).sort();

describe("Reflector", () => {
  it("lists in pages, watches from that version, and removes managedFields", async () => {
    const { reflector, changed } = await start([
      json(page(["a", "b"], "10", "more")),
      json(page(["c"], "10")),
      watch([event("ADDED", "d", "11"), event("MODIFIED", "a", "12")], "silence"),
    ]);
    await until("it follows", () => changed.length === 5);
    expect(keys(reflector)).toEqual(["a", "b", "c", "d"]);
    expect(reflector.get("shop/a")).toEqual({
      metadata: { name: "a", namespace: "shop", resourceVersion: "12" },
    });
    expect(server.queries.slice(0, 2)).toEqual([
      "labelSelector=a%3Db&limit=500".replace("%3D", "="),
      "labelSelector=a=b&continue=more&limit=500",
    ]);
    expect(server.queries[2]).toMatch(
      /^labelSelector=a=b&watch=true&allowWatchBookmarks=true&resourceVersion=10&timeoutSeconds=\d+$/,
    );
  });

  it("reports deleted objects", async () => {
    const { reflector, changed } = await start([
      json(page(["a"], "1")),
      watch([event("DELETED", "a", "2")], "silence"),
    ]);
    await until("it is gone", () => changed.length === 2 && reflector.size === 0);
  });

  it("continues a broken watch from its last event or bookmark", async () => {
    const { reflector, failures } = await start([
      json(page([], "1")),
      watch([event("BOOKMARK", "", "7")], "break"),
      watch([event("ADDED", "a", "8")], "silence"),
    ]);
    await until("it follows again", () => reflector.size === 1);
    expect(failures).toHaveLength(1);
    expect(server.queries[2]).toContain("resourceVersion=7&");
  });

  it.each<[string, Answer]>([
    ["as a status", json(gone, 410)],
    ["as an event", watch([{ type: "ERROR", object: gone }], "silence")],
  ])(
    "lists again when its version has expired, reported %s, and reports missed changes",
    async (_, answer) => {
      const { reflector, changed } = await start([
        json(page(["a", "b"], "1")),
        answer,
        json(page(["b", "c"], "9")),
        watch([], "silence"),
      ]);
      await until("it has listed again", () => keys(reflector).join() === "b,c");
      // Unchanged objects are not reported again.
      expect(changed).toEqual(["shop/a", "shop/b", "shop/a", "shop/c"]);
    },
  );

  it("restarts a list whose pages have expired", async () => {
    const { reflector } = await start([
      json(page(["a"], "1", "more")),
      json(gone, 410),
      json(page(["b"], "2")),
      watch([], "silence"),
    ]);
    await until("it has listed", () => keys(reflector).join() === "b");
  });

  it("reports other errors of a watch, and continues", async () => {
    const odd = { code: 500, reason: "InternalError", message: "etcd has a bad day" };
    const { reflector, failures } = await start([
      json(page([], "1")),
      watch([{ type: "ERROR", object: odd }], "silence"),
      watch([event("ADDED", "a", "2")], "silence"),
    ]);
    await until("it goes on", () => reflector.size === 1);
    expect(failures.map(({ message }) => message).join()).toContain("etcd has a bad day");
  });

  it("retries a failed list, and keeps its objects", async () => {
    const { reflector, failures } = await start([
      json({ message: "no" }, 500),
      json({ message: "no" }, 403),
      json(page(["a"], "1")),
      watch([], "silence"),
    ]);
    await reflector.synced();
    expect(failures.map(({ status }) => status)).toEqual([500, 403]);
  });

  it("closes a silent watch at its deadline", async () => {
    const timing = { watchMs: 1, graceMs: 30 };
    const { reflector, failures } = await start(
      [json(page([], "1")), watch([], "silence"), watch([event("ADDED", "a", "2")], "silence")],
      { timing },
    );
    await until("it asks again", () => reflector.size === 1);
    expect(failures[0]?.reason).toBe("ETIMEDOUT");
  });

  it("closes a watch that has sent bookmarks and then nothing", async () => {
    const { reflector } = await start(
      [
        json(page([], "1")),
        watch([event("BOOKMARK", "", "2")], "silence"),
        watch([event("ADDED", "a", "3")], "silence"),
      ],
      { timing: { silenceMs: 30 } },
    );
    await until("it asks again", () => reflector.size === 1);
  });

  it("backs off from a server that closes watches early", async () => {
    const times: number[] = [];
    const cut: Answer = (asked, response) => {
      times.push(performance.now());
      watch([], "end")(asked, response);
    };
    await start([json(page([], "1")), cut], { timing: { firstBackoffMs: 5, mostBackoffMs: 1000 } });
    await until("it has asked some times", () => times.length === 5);
    const pauses = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    // A timer can be early only by rounding.
    for (const [index, pause] of pauses.entries())
      expect(pause).toBeGreaterThan(5 * 2 ** index - 2);
  });

  it("lists from the watch cache if allowed, never an older version", async () => {
    const { reflector } = await start(
      [
        json(page(["a"], "5")),
        watch([event("MODIFIED", "a", "8")], "end"),
        json(page(["a", "b"], "9")),
        watch([], "silence"),
      ],
      { fromCache: true, timing: { relistMs: 1 } },
    );
    await until("it has listed again", () => reflector.size === 2);
    expect(server.queries[0]).toBe("labelSelector=a=b&resourceVersion=0");
    expect(server.queries[2]).toBe("labelSelector=a=b&resourceVersion=8");
  });

  it("lists again from the watch cache after a watch without events", async () => {
    const { reflector } = await start(
      [json(page([], "1")), watch([], "end"), json(page(["a"], "9")), watch([], "silence")],
      { fromCache: true },
    );
    await until("it has listed again", () => reflector.size === 1);
    await until("it watches from there", () => server.queries.length === 4);
    expect(server.queries[3]).toContain("&resourceVersion=9&");
  });

  it("lists from the database if the watch cache is older", async () => {
    const { reflector } = await start(
      [json(page([], "5")), json(gone, 410), json(page(["a"], "9")), watch([], "silence")],
      { fromCache: true },
    );
    await until("it has listed again", () => reflector.size === 1);
    expect(server.queries[2]).toBe("labelSelector=a=b&limit=500");
  });
});

describe("KubeClient", () => {
  const ask = async (...answers: Answer[]) => {
    server = await FakeServer.start(...answers);
    stopped = new AbortController();
    return server.client;
  };

  it("waits for the server's Retry-After", async () => {
    const busy = json({ reason: "TooManyRequests" }, 429, { "retry-after": "0" });
    const client = await ask(busy, busy, json({ ok: true }));
    expect(await client.get("/x")).toEqual({ ok: true });
    expect(server.asked).toHaveLength(3);
  });

  it("reports the server's error message", async () => {
    const client = await ask(json({ reason: "NotFound", message: "no such thing" }, 404));
    await expect(client.get("/x")).rejects.toMatchObject({
      status: 404,
      reason: "NotFound",
      message: "GET /x: no such thing",
    });
  });

  it("times out if the server does not answer", async () => {
    const client = await ask(() => {});
    const request = { method: "GET", path: "/x", timeoutMs: 30 } as const;
    await expect(client.request(request)).rejects.toMatchObject({ reason: "ETIMEDOUT" });
  });

  it("applies by force with its field manager", async () => {
    const client = await ask(json({}));
    await client.apply("/x/status", { status: {} }, "manager-a");
    expect(server.asked[0]).toMatchObject({ method: "PATCH", body: '{"status":{}}' });
    expect(server.queries[0]).toBe("fieldManager=manager-a&force=true");
  });
});
