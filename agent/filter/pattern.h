// Pattern: the right side of `~`. A regular expression is only kept as one where nothing simpler does the
// same:
// `^api\.` is a prefix, `/lon/` a search for a literal, `^a$` equality. One owner, one thread.
#pragma once

#include <regex.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace runnel::filter {

class Pattern {
 public:
  enum class Kind { prefix, contains, equals, regex };

  static Pattern prefix(std::string_view text);
  // POSIX extended regular expression, found anywhere in the text unless anchored. The error says what is
  // wrong with it, without a position.
  static Result<Pattern> regex(std::string_view expression);

  bool matches(std::string_view text) const;
  Kind kind() const { return kind_; }

 private:
  struct Free {
    void operator()(regex_t* r) const { regfree(r), delete r; }
  };
  Kind kind_ = Kind::prefix;
  std::string literal_;
  std::unique_ptr<regex_t, Free> regex_;
};

}  // namespace runnel::filter
