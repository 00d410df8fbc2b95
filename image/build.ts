/** Builds dist/image.tar for `docker load` and `ctr images import`, without a container engine. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import manifest from "../package.json" with { type: "json" };
import { buildRootfs } from "./rootfs.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const [name = `localhost/l2tp-cni:${manifest.version}`] = process.argv.slice(2);
const rootfs = `${root}dist/rootfs`;
const work = `${root}dist/image`;
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

buildRootfs(rootfs);
rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
// Options for a reproducible archive.
const SAME = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
tar(`${work}/layer.tar`, rootfs, ["."]);
const layer = await sha256(`${work}/layer.tar`);
const config = {
  architecture: ARCHITECTURES[process.arch],
  os: "linux",
  config: {
    Env: ["PATH=/usr/bin", "UV_THREADPOOL_SIZE=16"],
    Cmd: ["l2tp-agent", "--help"],
    Labels: { "org.opencontainers.image.version": manifest.version },
  },
  rootfs: { type: "layers", diff_ids: [`sha256:${layer}`] },
  history: [{}],
};
writeFileSync(`${work}/config.json`, JSON.stringify(config));
const archive = [{ Config: "config.json", RepoTags: [name], Layers: ["layer.tar"] }];
writeFileSync(`${work}/manifest.json`, JSON.stringify(archive));
tar(`${root}dist/image.tar.new`, work, ["manifest.json", "config.json", "layer.tar"]);
renameSync(`${root}dist/image.tar.new`, `${root}dist/image.tar`);
rmSync(work, { recursive: true });
console.log(`Built dist/image.tar: ${name}`);

function tar(file: string, folder: string, members: readonly string[]): void {
  execFileSync("tar", ["--create", "--file", file, ...SAME, "--directory", folder, ...members]);
}

async function sha256(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}
