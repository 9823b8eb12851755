// The framework as the compiler's fetcher wants it: two packages, made of the sources that a request brings.

function frameworkPackage(sources, name, alias, address, dependencies) {
  const manifest = `[package]\nname = "${name}"\nedition = "2024"\n${dependencies}\n[addresses]\n${alias} = "${address}"\n`;
  const files = Object.entries(sources[alias]).map(([file, text]) => [`sources/${file}`, text]);
  return { "Move.toml": manifest, ...Object.fromEntries(files) };
}

/** @param sources {"std": {file: text}, "sui": {file: text}} */
export function frameworkFetcher(sources) {
  // Where Sui's repository keeps the packages that every package depends on without saying so.
  const packages = {
    "crates/sui-framework/packages/move-stdlib": frameworkPackage(sources, "MoveStdlib", "std", "0x1", ""),
    "crates/sui-framework/packages/sui-framework": frameworkPackage(
      sources, "Sui", "sui", "0x2", '[dependencies]\nMoveStdlib = { local = "../move-stdlib" }',
    ),
  };
  return {
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
}
