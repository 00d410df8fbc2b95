/**
 * Reads cluster and user of the current context from kubeconfig files
 * (https://kubernetes.io/docs/reference/config-api/kubeconfig.v1). Kubernetes' client library handles
 * credential plugins, authentication providers and proxies, and is loaded only for them.
 */
import { readFileSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { parse } from "yaml";
import { type ClusterAccess, type Credential, directAccess } from "./access.ts";
import { libraryAccess } from "./library.ts";

type Fields = Readonly<Record<string, unknown>>;

/** A value and its place: `FILE: clusters["c"].cluster.server`. */
class Field {
  readonly #value: unknown;
  readonly #file: string;
  readonly #path: string;

  constructor(value: unknown, file: string, path = "") {
    this.#value = value ?? undefined;
    this.#file = file;
    this.#path = path;
  }

  get place(): string {
    return this.#path === "" ? this.#file : `${this.#file}: ${this.#path}`;
  }

  get isSet(): boolean {
    return this.#value !== undefined && this.#value !== "";
  }

  fail(reason: string): never {
    throw new Error(`${this.place}: ${reason}`);
  }

  /** Returns the object; an empty object if the field is not set. */
  fields(): Fields {
    const value = this.#value ?? {};
    if (typeof value !== "object" || Array.isArray(value)) return this.fail("must be a mapping");
    return value as Fields;
  }

  get(name: string): Field {
    const path = this.#path === "" ? name : `${this.#path}.${name}`;
    return new Field(this.fields()[name], this.#file, path);
  }

  /** Returns the string; undefined if the field is not set or empty. */
  text(): string | undefined {
    if (!this.isSet) return undefined;
    return typeof this.#value === "string"
      ? this.#value
      : this.fail(`must be a string; put it in quotes`);
  }

  flag(): boolean {
    const value = this.#value ?? false;
    return typeof value === "boolean" ? value : this.fail("must be true or false");
  }

  texts(): string[] {
    const value = this.#value ?? [];
    const isTexts = Array.isArray(value) && value.every((item) => typeof item === "string");
    return isTexts ? (value as string[]) : this.fail("must be a list of strings");
  }

  /** Returns the items of a list, by their name. */
  named(kind: string): Map<string, Field> {
    const value = this.#value ?? [];
    if (!Array.isArray(value)) return this.fail("must be a list");
    const items = value.map((item, index) => {
      const anonymous = new Field(item, this.#file, `${this.#path}[${index}]`);
      const name = anonymous.get("name").text() ?? anonymous.get("name").fail("is missing");
      const path = `${this.#path}[${JSON.stringify(name)}].${kind}`;
      return [name, new Field(anonymous.fields()[kind], this.#file, path)] as const;
    });
    // If several items have the same name, the first one wins, as for kubectl.
    return new Map(items.toReversed());
  }

  /** Returns an absolute path. A relative path is relative to the file's folder. */
  path(): string | undefined {
    const path = this.text();
    return path === undefined || isAbsolute(path) ? path : join(dirname(this.#file), path);
  }
}

/**
 * Reads and merges the files like kubectl: the first setting, and the first entry of each name, wins.
 * @throws Error that names the file and the field
 */
export function readKubeconfig(files: readonly string[]): ClusterAccess {
  const configs = files.map((file) => new Field(parseFile(file), resolve(file)));
  const current = configs.map((config) => config.get("current-context"));
  const chosen = current.find(({ isSet }) => isSet);
  if (chosen === undefined) {
    const places = current.map(({ place }) => place).join(", ");
    throw new Error(`${places}: is not set; choose one with kubectl config use-context NAME`);
  }
  const context = find(configs, "context", chosen);
  const cluster = find(configs, "cluster", context.get("cluster"));
  const isAnonymous = !context.get("user").isSet;
  return accessOf(
    cluster,
    isAnonymous ? new Field({}, "") : find(configs, "user", context.get("user")),
  );
}

function parseFile(file: string): unknown {
  const text = readFileSync(file, "utf8");
  try {
    return parse(text, { merge: true });
  } catch (error) {
    const [line] = (error as Error).message.split("\n");
    throw new Error(`${file}: not YAML: ${line}`);
  }
}

/** Returns the entry that `reference` names. */
function find(configs: readonly Field[], kind: string, reference: Field): Field {
  const name = reference.text() ?? reference.fail("is not set");
  const all = configs.map((config) => config.get(`${kind}s`).named(kind));
  const found = all.find((entries) => entries.has(name))?.get(name);
  if (found !== undefined) return found;
  const names = [...new Set(all.flatMap((entries) => [...entries.keys()]))].join(", ");
  return reference.fail(`unknown ${kind} ${JSON.stringify(name)}; found: ${names || "none"}`);
}

function accessOf(cluster: Field, user: Field): ClusterAccess {
  const server = serverOf(cluster);
  const skipVerify = cluster.get("insecure-skip-tls-verify").flag();
  if (server.protocol === "http:" && !skipVerify) {
    cluster
      .get("server")
      .fail("http: sends credentials unencrypted; use https:, or set insecure-skip-tls-verify");
  }
  const ca = pem(cluster, "certificate-authority");
  const cert = pem(user, "client-certificate");
  const key = pem(user, "client-key");
  if ((cert === undefined) !== (key === undefined)) {
    user
      .get(cert === undefined ? "client-certificate" : "client-key")
      .fail("is not set; set both client-certificate and client-key");
  }
  const tokens = [user.get("tokenFile"), user.get("token-file")];
  const tokenFile = tokens.find(({ isSet }) => isSet);
  const token = tokenFile === undefined ? inline(user.get("token").text()) : file(tokenFile);
  const serverName = cluster.get("tls-server-name").text();
  const headers = { ...basic(user), ...impersonation(user) };
  const proxy = cluster.get("proxy-url");
  const needsLibrary = [proxy, user.get("exec"), user.get("auth-provider")].some(
    ({ isSet }) => isSet,
  );
  if (!needsLibrary) {
    return directAccess({ server, skipVerify, serverName, ca, cert, key, token, headers });
  }
  return libraryAccess({
    server,
    isProxied: proxy.isSet,
    headers: impersonation(user),
    cluster: { ...cluster.fields(), ...absolute(cluster, ["certificate-authority"]) },
    user: {
      ...user.fields(),
      ...absolute(user, ["client-certificate", "client-key"]),
      ...commandOf(user),
    },
    tokenFile: tokenFile?.path(),
  });
}

function serverOf(cluster: Field): URL {
  const field = cluster.get("server");
  const text = field.text() ?? field.fail("is missing");
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    return field.fail(
      `${JSON.stringify(text)} is not a URL; use a URL as in https://10.0.0.1:6443`,
    );
  }
  return url;
}

const inline = (text: string | undefined) => (text === undefined ? undefined : { text });

function file(field: Field): Credential | undefined {
  const path = field.path();
  return path === undefined ? undefined : { file: path, field: field.place };
}

/** Returns the PEM text that is in base64 in NAME-data, or otherwise in the file that NAME names. */
function pem(of: Field, name: string): Credential | undefined {
  const data = of.get(`${name}-data`);
  const encoded = data.text();
  if (encoded === undefined) return file(of.get(name));
  const text = Buffer.from(encoded, "base64").toString("utf8");
  return text.includes("-----BEGIN ") ? { text } : data.fail("is not PEM in base64");
}

/** Returns the header for basic authentication. A bearer token has precedence. */
function basic(user: Field): Record<string, string> {
  const name = user.get("username").text();
  if (name === undefined) return {};
  const credentials = Buffer.from(`${name}:${user.get("password").text() ?? ""}`);
  return { authorization: `Basic ${credentials.toString("base64")}` };
}

/** Returns the headers for user impersonation. */
function impersonation(user: Field): Record<string, string | string[]> {
  const [name, uid] = [user.get("as").text(), user.get("as-uid").text()];
  const groups = user.get("as-groups").texts();
  const extra = user.get("as-user-extra");
  const extras = Object.keys(extra.fields()).map((key) => [
    `impersonate-extra-${encodeURIComponent(key)}`,
    extra.get(key).texts(),
  ]);
  return {
    ...(name !== undefined && { "impersonate-user": name }),
    ...(uid !== undefined && { "impersonate-uid": uid }),
    ...(groups.length > 0 && { "impersonate-group": groups }),
    ...Object.fromEntries(extras),
  };
}

function absolute(of: Field, names: readonly string[]): Fields {
  const paths = names.map((name) => [name, of.get(name).path()]);
  return Object.fromEntries(paths.filter(([, path]) => path !== undefined));
}

/** Makes the path of a plugin's command absolute. A command without a slash is found in PATH, and stays. */
function commandOf(user: Field): Fields {
  const exec = user.get("exec");
  const command = exec.get("command");
  if (!command.text()?.includes("/")) return {};
  return { exec: { ...exec.fields(), command: command.path() } };
}
