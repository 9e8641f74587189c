// What a request's headers say about its body, judged before any of it is read. Pure: headers in, in their order, a judgement out.
//
// A body whose length can be read in two ways is refused (RFC 9112, 6.3): what follows it would be a request for one server and
// a body for another. libmicrohttpd takes the first of two lengths, and of a coding that it does not know it reads on until
// the connection ends.
#pragma once

#include <cstddef>
#include <string_view>

namespace runnel_httpd_module {

class Framing {
 public:
  // One header line; a name that says nothing about the body is passed over. The views are valid until judge().
  void header(std::string_view name, std::string_view value);

  struct Judgement {
    const char* refusal = "";  // "": go on
    unsigned status = 0;
    bool gzip = false;
  };
  Judgement judge(size_t max_body) const;

 private:
  struct Header {
    std::string_view value;
    size_t count = 0;
  };
  Header length_, transfer_, content_;
};

}  // namespace runnel_httpd_module
