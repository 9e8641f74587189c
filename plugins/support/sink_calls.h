// The functions of a runnel_sink for a class with the members of the same names. No exception crosses the interface:
// one in a write is an answer, the others have none, and what they left undone the next write finds so.
#pragma once

#include <exception>

#include "sink_support.h"

namespace runnel_plugin {

template <class T>
struct SinkCalls {
  static void* create(const runnel_host* host, const runnel_value* values, char* error, size_t capacity) {
    try {
      return new T(host, values);
    } catch (const std::exception& failure) {
      copy_text(failure.what(), error, capacity);
      return nullptr;
    }
  }
  static runnel_outcome write(void* sink, const runnel_payload* payload, uint64_t deadline_ns,
                              runnel_answer* answer) {
    try {
      return static_cast<T*>(sink)->write(*payload, deadline_ns, answer);
    } catch (const std::exception& failure) {
      return answer_with(answer, RUNNEL_RETRY, failure.what());
    }
  }
  static void interrupt(void* sink) { static_cast<T*>(sink)->interrupt(); }
  static void reopen(void* sink) {
    try {
      static_cast<T*>(sink)->reopen();
    } catch (const std::exception&) {
    }
  }
  static void tick(void* sink) {
    try {
      static_cast<T*>(sink)->tick();
    } catch (const std::exception&) {
    }
  }
  static void destroy(void* sink) { delete static_cast<T*>(sink); }
};

using OptionError = void (*)(void* context, size_t option, const char* entry, const char* text);

// runnel_sink.check by a function that may throw; its trouble is told of the first option.
template <void (*Check)(const runnel_value*, OptionError, void*)>
void check_call(const runnel_value* values, OptionError error, void* context) {
  try {
    Check(values, error, context);
  } catch (const std::exception& failure) {
    error(context, 0, nullptr, failure.what());
  }
}

}  // namespace runnel_plugin
