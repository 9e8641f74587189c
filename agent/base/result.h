// Result<T>: a value or an Error, for failures that are expected (bad input, a missing file, a full disk).
// Exceptions stay inside start-up code; nothing throws through libuv or the sink ABI. Plain values, any thread.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace runnel {

struct Error {
  std::string text;  // one line for a person: what is wrong and, where known, what mends it
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const std::string& error() const { return std::get<1>(state_).text; }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}

  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const std::string& error() const { return error_.text; }

 private:
  Error error_;
  bool ok_ = true;
};

using Status = Result<void>;

}  // namespace runnel
