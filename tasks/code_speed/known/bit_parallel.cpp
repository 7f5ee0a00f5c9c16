// The same answers as the seed's, by hand: a column of the table is one machine word (G. Myers, "A fast bit-vector algorithm for
// approximate string matching", JACM 1999, in H. Hyyrö's form of 2003 for edit distance), words are looked at by how much their length
// differs from the query's, and those whose letters alone rule them out are passed over.
#if defined(__x86_64__)
#pragma GCC target("popcnt")
#endif
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr int kLongest = 64;

struct Word {
    uint32_t letters;  // which letters occur
    uint32_t twice;    // which occur at least twice
    uint32_t start;
    int32_t index;
};

std::vector<char> readAll() {
    std::vector<char> text(1 << 16);
    size_t used = 0;
    for (size_t got; (got = fread(text.data() + used, 1, text.size() - used, stdin)) > 0;) {
        used += got;
        if (used == text.size()) text.resize(2 * used);
    }
    text.resize(used);
    text.push_back('\0');
    return text;
}

const char* skipBlank(const char* at) {
    while (*at && *at <= ' ') at++;
    return at;
}

int parse(const char*& at) {
    at = skipBlank(at);
    int value = 0;
    while (*at > ' ') value = 10 * value + (*at++ - '0');
    return value;
}

// Lower bound: letters that one has (twice) and the other has not are paid for, one operation each.
int lacking(const Word& a, const Word& b) {
    int only_a = __builtin_popcount(a.letters & ~b.letters) + __builtin_popcount(a.twice & ~b.twice);
    int only_b = __builtin_popcount(b.letters & ~a.letters) + __builtin_popcount(b.twice & ~a.twice);
    return only_a > only_b ? only_a : only_b;
}

Word look(const char* text, const char* from, int length, int index) {
    Word word{0, 0, static_cast<uint32_t>(from - text), index};
    for (int k = 0; k < length; k++) {
        uint32_t bit = 1u << (from[k] - 'a');
        word.twice |= word.letters & bit;
        word.letters |= bit;
    }
    return word;
}

int distance(const uint64_t* where, int query, const char* word, int length, int most) {
    uint64_t up = ~0ull, down = 0, last = 1ull << (query - 1);
    int score = query;
    for (int k = 0; k < length; k++) {
        uint64_t equal = where[word[k] - 'a'];
        uint64_t diagonal = (((equal & up) + up) ^ up) | equal | down;
        uint64_t right = down | ~(diagonal | up), left = up & diagonal;
        score += (right & last) != 0;
        score -= (left & last) != 0;
        if (score - (length - 1 - k) > most) return most + 1;
        right = (right << 1) | 1;
        left <<= 1;
        up = left | ~(diagonal | right);
        down = right & diagonal;
    }
    return score;
}

}  // namespace

int main() {
    std::vector<char> storage = readAll();
    const char* text = storage.data();
    const char* at = text;
    int words = parse(at), queries = parse(at);
    std::vector<Word> by_length[kLongest + 1];
    for (int i = 0; i < words; i++) {
        const char* from = at = skipBlank(at);
        while (*at > ' ') at++;
        by_length[at - from].push_back(look(text, from, static_cast<int>(at - from), i));
    }
    std::vector<char> out;
    for (int k = 0; k < queries; k++) {
        const char* from = at = skipBlank(at);
        while (*at > ' ') at++;
        int length = static_cast<int>(at - from);
        Word query = look(text, from, length, k);
        uint64_t where[26] = {};
        for (int i = 0; i < length; i++) where[from[i] - 'a'] |= 1ull << i;
        int best = kLongest, count = 0, first = -1;
        for (int off = 0; off <= best; off++) {
            for (int side = 0; side < (off ? 2 : 1); side++) {
                int other = side ? length - off : length + off;
                if (other < 1 || other > kLongest) continue;
                for (const Word& word : by_length[other]) {
                    if (lacking(query, word) > best) continue;
                    int found = distance(where, length, text + word.start, other, best);
                    if (found < best) best = found, count = 0, first = word.index;
                    if (found == best) {
                        count++;
                        if (word.index < first) first = word.index;
                    }
                }
            }
        }
        char line[40];
        int size = snprintf(line, sizeof line, "%d %d %d\n", best, count, first);
        out.insert(out.end(), line, line + size);
    }
    fwrite(out.data(), 1, out.size(), stdout);
    return 0;
}
