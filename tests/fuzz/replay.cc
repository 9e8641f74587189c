// Runs a fuzz target over each file of the folders named: what a fuzzer found once stays tested, also by compilers and
// sanitizers that have no fuzzer.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; i++)
    for (const auto& entry : std::filesystem::directory_iterator(argv[i]))
      if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const auto& path : files) {
    std::ifstream file(path, std::ios::binary);
    std::vector<char> text(std::istreambuf_iterator<char>(file), {});
    // Told before it runs, so that the last line of a crash names its input.
    std::printf("%s (%zu bytes)\n", path.filename().c_str(), text.size());
    std::fflush(stdout);
    // A copy of just that size, so that a read beyond the end is seen.
    std::vector<uint8_t> exact(text.begin(), text.end());
    exact.shrink_to_fit();
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
  }
  LLVMFuzzerTestOneInput(nullptr, 0);
  std::printf("%zu files\n", files.size());
  return files.empty() ? 1 : 0;
}
