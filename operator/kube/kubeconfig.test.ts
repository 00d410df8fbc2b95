import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttp, type IncomingMessage } from "node:http";
import { createServer, type Server } from "node:https";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { KubeClient } from "./client.ts";
import { loadConfig } from "./config.ts";
import { serviceAccountAccess } from "./service-account.ts";
import { CA_CERT, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY } from "./testdata.ts";

type Fields = Readonly<Record<string, unknown>>;

let folder: string;
let server: Server;
let seen: IncomingMessage[];
let subjects: unknown[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "kubeconfig-"));
  seen = [];
  subjects = [];
  const tls = { key: SERVER_KEY, cert: SERVER_CERT, ca: CA_CERT, requestCert: true };
  server = createServer({ ...tls, rejectUnauthorized: false }, (request, response) => {
    seen.push(request);
    const { subject } = (request.socket as TLSSocket).getPeerCertificate();
    subjects.push(subject?.CN);
    response.end("{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true });
});

const port = () => (server.address() as AddressInfo).port;
const base64 = (text: string) => Buffer.from(text).toString("base64");

function write(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : stringify(content));
  return path;
}

/** A kubeconfig with one context. */
function config(cluster: Fields, user: Fields | null, name = "one"): Fields {
  return {
    apiVersion: "v1",
    kind: "Config",
    "current-context": name,
    contexts: [{ name, context: { cluster: name, ...(user && { user: name }) } }],
    clusters: [{ name, cluster: { server: `https://127.0.0.1:${port()}`, ...cluster } }],
    users: user && [{ name, user }],
  };
}

const trusted = () => ({ "certificate-authority-data": base64(CA_CERT) });

/** Loads the file, and sends a request. */
async function ask(file: string | undefined, env: NodeJS.ProcessEnv = {}): Promise<void> {
  const client = new KubeClient(await loadConfig(file, env), "test");
  try {
    await client.get("/version");
  } finally {
    client.close();
  }
}

describe("the user", () => {
  it.each<[string, () => Fields, string | undefined]>([
    ["a token", () => ({ token: "abc" }), "Bearer abc"],
    ["a token's file", () => ({ tokenFile: write("token", "of-file\n") }), "Bearer of-file"],
    ["a relative token's file", () => ({ tokenFile: basename(write("t", "x")) }), "Bearer x"],
    [
      "a token's file rather than a token",
      () => ({ token: "abc", tokenFile: write("token", "of-file") }),
      "Bearer of-file",
    ],
    ["a password", () => ({ username: "me", password: "p:w" }), `Basic ${base64("me:p:w")}`],
    ["nothing", () => ({}), undefined],
  ])("sends %s", async (_what, user, header) => {
    await ask(write("config", config(trusted(), user())));
    expect(seen[0]?.headers.authorization).toBe(header);
  });

  it("may be missing or empty", async () => {
    await ask(write("config", config(trusted(), null)));
    await ask(write("config", { ...config(trusted(), {}), users: [{ name: "one", user: null }] }));
    expect(seen).toHaveLength(2);
  });

  it.each([
    [
      "data",
      { "client-certificate-data": base64(CLIENT_CERT), "client-key-data": base64(CLIENT_KEY) },
    ],
    ["files", { "client-certificate": "pki/cert.pem", "client-key": "pki/key.pem" }],
    [
      "data rather than files",
      {
        "client-certificate": "no/such/file",
        "client-key": "no/such/file",
        "client-certificate-data": base64(CLIENT_CERT),
        "client-key-data": base64(CLIENT_KEY),
      },
    ],
  ])("has a client certificate in %s", async (_where, user) => {
    mkdirSync(join(folder, "pki"));
    write("pki/cert.pem", CLIENT_CERT);
    write("pki/key.pem", CLIENT_KEY);
    await ask(write("config", config(trusted(), user)));
    expect(subjects).toEqual(["test-client"]);
  });

  it("has its token file read for each request", async () => {
    const tokenFile = write("token", "first");
    const access = await loadConfig(write("config", config(trusted(), { tokenFile })), {});
    const client = new KubeClient(access, "test");
    await client.get("/version");
    write("token", "second");
    await client.get("/version");
    rmSync(tokenFile);
    await expect(client.get("/version")).rejects.toThrow(
      /config: users\["one"\]\.user\.tokenFile: ENOENT/,
    );
    write("token", "\n");
    await expect(client.get("/version")).rejects.toThrow(/tokenFile: .*token is empty/);
    client.close();
    expect(seen.map(({ headers }) => headers.authorization)).toEqual([
      "Bearer first",
      "Bearer second",
    ]);
  });

  it("can impersonate another user", async () => {
    const user = {
      as: "jane",
      "as-uid": "7",
      "as-groups": ["a", "b"],
      "as-user-extra": { "x/y": ["z"] },
    };
    await ask(write("config", config(trusted(), user)));
    expect(seen[0]?.headers).toMatchObject({
      "impersonate-user": "jane",
      "impersonate-uid": "7",
      "impersonate-group": "a, b",
      "impersonate-extra-x%2fy": "z",
    });
  });

  it("can have a credential plugin", async () => {
    const status = { token: "of-plugin" };
    const credential = {
      apiVersion: "client.authentication.k8s.io/v1",
      kind: "ExecCredential",
      status,
    };
    mkdirSync(join(folder, "bin"));
    const plugin = write("bin/plugin", `#!/bin/sh\necho '${JSON.stringify(credential)}'\n`);
    chmodSync(plugin, 0o755);
    const exec = { apiVersion: credential.apiVersion, command: "bin/plugin" };
    await ask(write("config", config(trusted(), { exec, as: "jane", "as-groups": ["a"] })));
    expect(seen[0]?.headers).toMatchObject({
      authorization: "Bearer of-plugin",
      "impersonate-user": "jane",
      "impersonate-group": "a",
    });
  });
});

describe("the cluster", () => {
  it("must have a trusted certificate", async () => {
    const file = write("config", config({}, { token: "abc" }));
    await expect(ask(file)).rejects.toThrow(/certificate/);
    expect(seen).toEqual([]);
  });

  it("can have the authority's certificate in a file", async () => {
    write("ca.pem", CA_CERT);
    await ask(write("config", config({ "certificate-authority": "ca.pem" }, {})));
    expect(seen).toHaveLength(1);
  });

  it("can have its certificate ignored", async () => {
    await ask(write("config", config({ "insecure-skip-tls-verify": true }, {})));
    expect(seen).toHaveLength(1);
  });

  it("can have another name in its certificate", async () => {
    const named = (name: string) => config({ ...trusted(), "tls-server-name": name }, {});
    await ask(write("config", named("api.test")));
    await expect(ask(write("config", named("other.test")))).rejects.toThrow(/other\.test/);
  });

  it("can have a path prefix", async () => {
    const prefixed = `https://127.0.0.1:${port()}/k8s/clusters/c1/`;
    await ask(write("config", config({ ...trusted(), server: prefixed }, {})));
    expect(seen[0]?.url).toBe("/k8s/clusters/c1/version");
  });

  it("can be behind a proxy", async () => {
    const tunnels: (string | undefined)[] = [];
    const proxy = createHttp();
    proxy.on("connect", (request: IncomingMessage, socket, head: Buffer) => {
      tunnels.push(request.url);
      const to = connect(port(), "127.0.0.1", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        to.write(head);
        to.pipe(socket).pipe(to);
      });
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const tokenFile = write("token", "abc");
    await ask(write("config", config({ ...trusted(), "proxy-url": url }, { tokenFile })));
    proxy.closeAllConnections();
    proxy.close();
    expect(tunnels).toEqual([`127.0.0.1:${port()}`]);
    expect(seen[0]?.headers.authorization).toBe("Bearer abc");
  });
});

describe("several files", () => {
  it("are merged; the first entry of a name wins", async () => {
    const first = write("first", { ...config({}, null), contexts: [], clusters: null });
    const second = write("second", config(trusted(), { token: "second" }));
    const third = write("third", config({ server: "https://no.such.host" }, { token: "third" }));
    const missing = join(folder, "missing");
    await ask(undefined, { KUBECONFIG: [missing, first, "", second, third].join(":") });
    expect(seen[0]?.headers.authorization).toBe("Bearer second");
  });

  it("are an error if all are missing", async () => {
    await expect(ask(undefined, { KUBECONFIG: "/no/such:/file" })).rejects.toThrow(
      "KUBECONFIG: /no/such:/file does not exist",
    );
  });
});

it("finds a kubeconfig in the home directory", async () => {
  mkdirSync(join(folder, ".kube"));
  write(".kube/config", config(trusted(), { token: "home" }));
  await ask(undefined, { HOME: folder });
  expect(seen[0]?.headers.authorization).toBe("Bearer home");
  await expect(ask(undefined, { HOME: join(folder, "bin") })).rejects.toThrow(
    "no cluster: not running in a pod, and no kubeconfig found",
  );
});

describe("errors name the file and the field", () => {
  const one = (change: Fields, cluster: Fields = {}, user: Fields = {}) => ({
    ...config(cluster, user),
    ...change,
  });
  it.each<[string, () => unknown, RegExp]>([
    ["text that is not YAML", () => "a: [", /config: not YAML: /],
    ["a list", () => "[]", /config: must be a mapping/],
    ["an empty file", () => "", /config: current-context: is not set/],
    [
      "a missing context",
      () => one({ "current-context": "two" }),
      /config: current-context: unknown context "two"; found: one/,
    ],
    [
      "a missing cluster",
      () => one({ clusters: [] }),
      /config: contexts\["one"\]\.context\.cluster: unknown cluster "one"; found: none/,
    ],
    [
      "a missing user",
      () => one({ users: null }),
      /config: contexts\["one"\]\.context\.user: unknown user "one"/,
    ],
    ["an entry without a name", () => one({ users: [{}] }), /config: users\[0\]\.name: is missing/],
    ["users that are not a list", () => one({ users: {} }), /config: users: must be a list/],
    [
      "a missing server",
      () => one({}, { server: "" }),
      /config: clusters\["one"\]\.cluster\.server: is missing/,
    ],
    [
      "a server without a scheme",
      () => one({}, { server: "localhost:6443" }),
      /cluster\.server: "localhost:6443" is not a URL; use a URL as in https:/,
    ],
    [
      "an unencrypted server",
      () => one({}, { server: "http://127.0.0.1:1" }),
      /cluster\.server: http: sends credentials unencrypted/,
    ],
    [
      "an invalid certificate",
      () => one({}, { "certificate-authority-data": "abc" }),
      /cluster\.certificate-authority-data: is not PEM in base64/,
    ],
    [
      "a flag that is a string",
      () => one({}, { "insecure-skip-tls-verify": "yes" }),
      /insecure-skip-tls-verify: must be true or false/,
    ],
    [
      "a token that is a number",
      () => one({}, {}, { token: 12 }),
      /config: users\["one"\]\.user\.token: must be a string; put it in quotes/,
    ],
    [
      "a certificate without its key",
      () => one({}, {}, { "client-certificate": "x" }),
      /users\["one"\]\.user\.client-key: is not set/,
    ],
    [
      "groups that are a string",
      () => one({}, {}, { "as-groups": "a" }),
      /as-groups: must be a list of strings/,
    ],
  ])("in %s", async (_what, content, message) => {
    const file = write("config", content());
    await expect(loadConfig(file, {})).rejects.toThrow(message);
    await expect(loadConfig(file, {})).rejects.toThrow(folder);
  });

  it("in a file that does not exist", async () => {
    await expect(loadConfig("/no/such/file", {})).rejects.toThrow(/ENOENT.*\/no\/such\/file/);
  });

  it("in a certificate's file that does not exist, at the request", async () => {
    const file = write("config", config({ "certificate-authority": "no.pem" }, {}));
    await expect(ask(file)).rejects.toThrow(
      /config: clusters\["one"\]\.cluster\.certificate-authority: ENOENT.*no\.pem/,
    );
  });
});

describe("a service account", () => {
  const env = () => ({
    KUBERNETES_SERVICE_HOST: "127.0.0.1",
    KUBERNETES_SERVICE_PORT: String(port()),
  });

  it("is used with a rotated token", async () => {
    write("ca.crt", CA_CERT);
    write("token", "first");
    const access = serviceAccountAccess(env(), folder);
    if (access === null) throw new Error("no access");
    const client = new KubeClient(access, "test");
    await client.get("/version");
    write("token", "second");
    await client.get("/version");
    client.close();
    const tokens = seen.map(({ headers }) => headers.authorization);
    expect(tokens).toEqual(["Bearer first", "Bearer second"]);
  });

  it("supports an IPv6 address", () => {
    write("token", "x");
    const access = serviceAccountAccess({ ...env(), KUBERNETES_SERVICE_HOST: "fd00::1" }, folder);
    expect(access?.server.origin).toBe(`https://[fd00::1]:${port()}`);
  });

  it("does not exist outside a pod, and requires its variables inside", () => {
    expect(serviceAccountAccess(env(), folder)).toBe(null);
    write("token", "x");
    expect(() => serviceAccountAccess({}, folder)).toThrow("KUBERNETES_SERVICE_HOST is not set");
  });
});
