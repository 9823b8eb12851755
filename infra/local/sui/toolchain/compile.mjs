// Compile one Move package with the real Sui Move compiler (WebAssembly), without a network.
// usage: node compile.mjs REQUEST.json REPLY.json
//   request: {"files": {path: text}, "framework": {"std": {file: text}, "sui": {file: text}}}
//   reply:   {"modules": [base64], "dependencies": [hex], "digest": [byte], "warnings": text} or {"error": text}
import fs from "node:fs";
import { dumpMovePackage, initMovePackageBuilder } from "@zktx.io/sui-move-builder";
import { frameworkFetcher } from "./framework.mjs";

const [requestPath, replyPath] = process.argv.slice(2);
const request = JSON.parse(fs.readFileSync(requestPath, "utf8"));

await initMovePackageBuilder();
const fetcher = frameworkFetcher(request.framework);
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
