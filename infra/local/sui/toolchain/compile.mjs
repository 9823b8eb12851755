// Compile one Move package with the real Sui Move compiler (WebAssembly), without a network.
// usage: node compile.mjs REQUEST.json REPLY.json
//   request: {"files": {path: text}, "framework": {"std": {file: text}, "sui": {file: text}}}
//   reply:   {"modules": [base64], "dependencies": [hex], "digest": [byte], "warnings": text} or {"error": text}
import fs from "node:fs";
import { dumpMovePackage, initMovePackageBuilder } from "@zktx.io/sui-move-builder";

const [requestPath, replyPath] = process.argv.slice(2);
const request = JSON.parse(fs.readFileSync(requestPath, "utf8"));

function frameworkPackage(name, alias, address, dependencies) {
  const manifest = `[package]\nname = "${name}"\nedition = "2024"\n${dependencies}\n[addresses]\n${alias} = "${address}"\n`;
  const sources = Object.entries(request.framework[alias]).map(([file, text]) => [`sources/${file}`, text]);
  return { "Move.toml": manifest, ...Object.fromEntries(sources) };
}

// Where Sui's repository keeps the packages that every package depends on without saying so.
const packages = {
  "crates/sui-framework/packages/move-stdlib": frameworkPackage("MoveStdlib", "std", "0x1", ""),
  "crates/sui-framework/packages/sui-framework": frameworkPackage(
    "Sui", "sui", "0x2", '[dependencies]\nMoveStdlib = { local = "../move-stdlib" }',
  ),
};

const fetcher = {
  // The compiler lists packages that the system knows but that are not used: those are empty here.
  async fetch(_url, _revision, directory) {
    return packages[directory] ?? {};
  },
  async fetchFile(_url, _revision, path) {
    for (const [directory, files] of Object.entries(packages)) {
      if (path.startsWith(`${directory}/`)) return files[path.slice(directory.length + 1)] ?? null;
    }
    return null;
  },
  // A package of ours may name the standard library only, as a neighbour.
  async fetchLocal(path) {
    const found = Object.keys(packages).find((directory) => directory.endsWith(path.replace("..", "")));
    if (!found) throw new Error(`local dependencies are not supported: ${path}`);
    return packages[found];
  },
  getResolvedSha(_url, revision) {
    return revision;
  },
};

await initMovePackageBuilder();
const result = await dumpMovePackage({ files: request.files, network: "mainnet", fetcher });
const reply = "error" in result
  ? { error: result.error }
  : {
      modules: result.modules,
      dependencies: result.dependencies,
      digest: result.digest,
      warnings: result.warnings ?? "",
    };
fs.writeFileSync(replyPath, JSON.stringify(reply));
