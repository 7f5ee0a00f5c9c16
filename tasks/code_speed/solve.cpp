// The nearest words of a dictionary by edit distance. Straightforward, and slow.
#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

using namespace std;

int editDistance(string a, string b) {
    vector<vector<int>> table(a.size() + 1, vector<int>(b.size() + 1));
    for (size_t i = 0; i <= a.size(); i++) {
        for (size_t j = 0; j <= b.size(); j++) {
            if (i == 0) {
                table[i][j] = j;
            } else if (j == 0) {
                table[i][j] = i;
            } else {
                int replaced = table[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
                table[i][j] = min(replaced, min(table[i - 1][j], table[i][j - 1]) + 1);
            }
        }
    }
    return table[a.size()][b.size()];
}

int main() {
    int words, queries;
    cin >> words >> queries;
    vector<string> dictionary(words);
    for (string& word : dictionary) {
        cin >> word;
    }
    for (int k = 0; k < queries; k++) {
        string query;
        cin >> query;
        int best = 1000000, count = 0, first = -1;
        for (int i = 0; i < words; i++) {
            int distance = editDistance(query, dictionary[i]);
            if (distance < best) {
                best = distance;
                count = 0;
                first = i;
            }
            if (distance == best) {
                count++;
            }
        }
        cout << best << " " << count << " " << first << endl;
    }
    return 0;
}
